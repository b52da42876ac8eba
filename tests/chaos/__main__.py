"""`make chaos`: a seeded schedule of faults under load, then the proof row by row."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from itertools import islice
from pathlib import Path

from demo.postgres import PostgresError
from demo.processes import ProcessError, tail

from chaos.play import KINDS, BrokenError, run
from chaos.scene import Kind, schedule
from chaos.table import Result
from chaos.world import World, say


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="length, comparison not counted")
    parser.add_argument(
        "--seed", type=int, nargs="+", help="decides the schedule; several are played in turn"
    )
    parser.add_argument("--rate", type=int, default=2000, help="events per second of the source")
    parser.add_argument(
        "--writers",
        type=int,
        nargs="+",
        default=[1, 2, 4],
        help="sessions that write at once; of several numbers each run of the stream draws one",
    )
    parser.add_argument("--quick", action="store_true", help="leave out what takes long")
    parser.add_argument("--only", action="append", help="only kinds whose name contains this")
    parser.add_argument("--schedule", type=int, metavar="N", help="print N entries and exit")
    options = parser.parse_args()
    seeds = options.seed or [random.SystemRandom().randrange(10_000)]
    kinds = [kind for kind in KINDS if not (options.quick and kind.slow)]
    if options.only:
        kinds = [kind for kind in kinds if any(text in kind.name for text in options.only)]
    if options.schedule:
        for entry in islice(schedule(seeds[0], kinds), options.schedule):
            say(f"{entry.number:4} {entry}, variant {entry.variant}, pause {entry.pause} s")
        return 0
    # However it is ended, it takes its processes with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    everything = Result()
    for seed in seeds:
        result = _play(seed, kinds, options)
        if result is None:
            return 130
        everything.add(result)
    if len(seeds) > 1:
        say(f"\nall seeds, {', '.join(map(str, seeds))}:\n\n{everything.markdown()}\n")
    say(f"chaos {'FAILED' if everything.offences else 'passed'}")
    return 1 if everything.offences else 0


def _play(seed: int, kinds: list[Kind], options: argparse.Namespace) -> Result | None:
    """Play one seed on a stage of its own; None if somebody interrupts."""
    folder = Path(tempfile.mkdtemp(prefix="sse-stream-chaos-"))
    folder.chmod(0o755)
    writers = " or ".join(map(str, options.writers))
    say(
        f"chaos: seed {seed}, {options.seconds:.0f} s, {options.rate} events/s, "
        f"{writers} writers; state in {folder}"
    )
    world = World(folder, per_second=options.rate, seed=seed, writers=options.writers)
    result: Result | None
    try:
        result = run(world, seed, options.seconds, kinds, airflow=not options.quick)
    except KeyboardInterrupt:
        say("interrupted")
        result = None
    except (BrokenError, TimeoutError, ProcessError, PostgresError) as error:
        say(f"broken off: {error}\n{tail(world.tasks.log) if hasattr(world, 'tasks') else ''}")
        result = Result(offences=[str(error)])
    finally:
        world.down()
    if result is not None and result.offences:
        say(f"seed {seed} FAILED; what is left of it: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
