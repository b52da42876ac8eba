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
from chaos.scene import schedule
from chaos.world import World, say


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="length, comparison not counted")
    parser.add_argument("--seed", type=int, help="decides the schedule (default: by chance)")
    parser.add_argument("--rate", type=int, default=2000, help="events per second of the source")
    parser.add_argument("--quick", action="store_true", help="leave out what takes long")
    parser.add_argument("--only", action="append", help="only kinds whose name contains this")
    parser.add_argument("--schedule", type=int, metavar="N", help="print N entries and exit")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10_000)
    kinds = [kind for kind in KINDS if not (options.quick and kind.slow)]
    if options.only:
        kinds = [kind for kind in kinds if any(text in kind.name for text in options.only)]
    if options.schedule:
        for entry in islice(schedule(seed, kinds), options.schedule):
            say(f"{entry.number:4} {entry}, variant {entry.variant}, pause {entry.pause} s")
        return 0
    # However it is ended, it takes its processes with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="sse-stream-chaos-"))
    folder.chmod(0o755)
    say(f"chaos: seed {seed}, {options.seconds:.0f} s, {options.rate} events/s; state in {folder}")
    world = World(folder, per_second=options.rate, seed=seed)
    passed = False
    try:
        passed = run(world, seed, options.seconds, kinds, airflow=not options.quick)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except (BrokenError, TimeoutError, ProcessError, PostgresError) as error:
        say(f"broken off: {error}\n{tail(world.tasks.log) if hasattr(world, 'tasks') else ''}")
    finally:
        world.down()
    if passed:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"chaos {'passed' if passed else 'FAILED'}: seed {seed}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
