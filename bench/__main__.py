"""The bench's command line: `python -m bench`; make bench calls it.

The environment says what is measured: BENCH_QUICK=1 takes about ten minutes, ONLY="section ..."
runs single sections, BENCH_ROUNDS=N changes the number of rounds. Figures of a machine that does
something else meanwhile are worth nothing, ratios of one run little more.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench import sections, targets
from bench.plan import WORK, BenchError, Plan
from bench.results import Section, document


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables, write JSON and chart; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"sections: {', '.join(sections.FULL)}; by name only: {', '.join(sections.ON_DEMAND)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=WORK / "result", help="folder of JSON and SVG")
    options = parser.parse_args(arguments)
    # Whoever ends it wants the server to go too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        plan = Plan.of(os.environ)
        return _measure(plan, _chosen(plan), options.out.resolve())
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _chosen(plan: Plan) -> list[str]:
    known = (*sections.FULL, *sections.ON_DEMAND)
    unknown = [name for name in plan.only if name not in known]
    if unknown:
        raise BenchError(f"ONLY names {', '.join(unknown)}: there are {', '.join(known)}")
    return [name for name in known if name in (plan.only or sections.FULL)]


def _measure(plan: Plan, names: list[str], out: Path) -> int:
    # Not before: --help needs no database driver.
    from bench.chart import chart
    from bench.laboratory import Laboratory, say

    measured: dict[str, Section] = {}
    start = time.monotonic()
    with Laboratory(plan) as lab:
        about = _about(plan, lab.cluster.stated())
        print("\n".join(f"{name}: {value}" for name, value in about.items()), "\n", flush=True)
        for name in names:
            say(f"{name} ({time.monotonic() - start:.0f} s so far)")
            module = importlib.import_module(f"bench.sections.{name}")
            measured[name] = module.measure(lab, measured)
            print("\n".join(measured[name].lines()), flush=True)
    verdicts = targets.judged(measured)
    print("\n".join(targets.lines(verdicts)))
    out.mkdir(parents=True, exist_ok=True)
    result = document(measured, verdicts, {**about, "seconds": round(time.monotonic() - start)})
    (out / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "bench.svg").write_text(chart(result))
    print(f"\nwritten: {out / 'bench.json'}, {out / 'bench.svg'}")
    return 0


def _about(plan: Plan, settings: dict[str, str]) -> dict[str, Any]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB",
        "load_before": round(os.getloadavg()[0], 2),
        "rounds": plan.rounds,
        "events": plan.events,
        "postgresql": settings,
    }


if __name__ == "__main__":
    sys.exit(main())
