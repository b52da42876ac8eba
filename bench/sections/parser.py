"""Inner loops: the criterion benches of the crates, read from what criterion writes down."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.laboratory import Laboratory, say
from bench.plan import ROOT, BenchError
from bench.results import Section

BENCHES = (("sse", "parser"), ("ingest", "decode"))
OURS, PEER = "ours", "eventsource-stream"
# What criterion keeps of benches that are gone is left alone.
GROUPS = (OURS, PEER, "line ends only", "decode")


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Run what there is of the benches and take medians."""
    section = Section("Inner loops on one core (criterion)")
    for package, bench in BENCHES:
        if not (ROOT / "src" / package / "benches" / f"{bench}.rs").exists():
            section.notes.append(f"src/{package} has no bench {bench}: not measured")
            continue
        say(f"  cargo bench --package {package} --bench {bench}")
        command = ["cargo", "bench", "--locked", "--package", package, "--bench", bench]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    for group, label, per_second, unit in _estimates():
        section.figures[f"{group}, {label}"] = (per_second, unit)
    _derive(section)
    section.notes.append("medians; the corpus is made by the benches themselves")
    return section


def _estimates() -> Iterator[tuple[str, str, float, str]]:
    """Give group, parameter, median throughput and unit of everything criterion has measured."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    for path in sorted((target / "criterion").glob("**/new/benchmark.json")):
        about: dict[str, Any] = json.loads(path.read_text())
        estimates = json.loads((path.parent / "estimates.json").read_text())
        seconds = estimates["median"]["point_estimate"] / 1e9
        throughput = about.get("throughput") or {}
        label = about.get("value_str") or about.get("function_id") or "all"
        for kind, scale, unit in (("Bytes", 1e9, "GB/s"), ("Elements", 1.0, "events/s")):
            if kind in throughput and about["group_id"] in GROUPS:
                yield about["group_id"], label, throughput[kind] / seconds / scale, unit


def _derive(section: Section) -> None:
    """Name the figures that targets ask for."""
    rates = {name: value for name, (value, _) in section.figures.items()}
    sizes = [value for name, value in rates.items() if name.startswith(f"{OURS}, ")]
    at_8 = rates.get(f"{OURS}, 8KiB")
    if at_8 is not None:
        section.figures["parser, 8 KiB chunks"] = (at_8, "GB/s")
        section.figures["flatness"] = (min(sizes) / max(sizes), "slowest to fastest chunk size")
        if rates.get(f"{PEER}, 8KiB"):
            section.figures["to eventsource-stream"] = (at_8 / rates[f"{PEER}, 8KiB"], "times")
    if "decode, find and encode" in rates:
        section.figures["decode and encode"] = (rates["decode, find and encode"], "events/s")
