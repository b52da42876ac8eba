"""Command line: ``python -m sse_stream migrate|status|doctor|dead-letters|reset|prune``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress

from .cli import dead_letters, doctor, migrate, prune, reset, status
from .cli.words import safe
from .errors import ConfigError, SSEStreamError

_COMMANDS = {
    "migrate": migrate,
    "status": status,
    "doctor": doctor,
    "dead-letters": dead_letters,
    "reset": reset,
    "prune": prune,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 failed, 2 wrong usage)."""
    options = _parser().parse_args(arguments)
    try:
        # Airflow logs to standard output, which is kept for what was asked for.
        with redirect_stdout(sys.stderr):
            outcome = options.run(options)
    except ConfigError as error:
        print(safe(f"error: {error}"), file=sys.stderr)
        return 2
    except SSEStreamError as error:
        kind = "" if type(error) is SSEStreamError else f"{type(error).__name__}: "
        print(safe(f"error: {kind}{error}"), file=sys.stderr)
        return int(options.failed)
    if outcome.raw is not None:
        sys.stdout.buffer.write(outcome.raw)
    elif options.json:
        print(json.dumps(outcome.result, indent=2))
    else:
        print("\n".join(safe(line) for line in outcome.lines))
    return int(outcome.code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sse_stream",
        description="Set up, look at and repair the database of a stream.",
        epilog="COMMAND --help shows options and examples.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        examples = getattr(command, "EXAMPLES", "")
        sub = commands.add_parser(
            name,
            help=command.SUMMARY,
            description=command.SUMMARY,
            epilog=f"examples:\n{examples}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for leaf in command.configure(sub) or [sub]:
            leaf.add_argument("--json", action="store_true", help="print JSON")
        sub.set_defaults(run=command.run, failed=getattr(command, "FAILED", 1))
    return parser


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
