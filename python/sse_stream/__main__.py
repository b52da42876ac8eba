"""Command line: ``sse-stream COMMAND``, the same as ``python -m sse_stream COMMAND``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress

from .cli import dead_letters, doctor, inspect, migrate, prune, reset, run, status, validate
from .cli.words import safe
from .errors import ConfigError, SSEStreamError

_COMMANDS = {
    "run": run,
    "inspect": inspect,
    "validate": validate,
    "migrate": migrate,
    "status": status,
    "doctor": doctor,
    "dead-letters": dead_letters,
    "reset": reset,
    "prune": prune,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 failed, 2 wrong usage).

    Where a command knows other codes, its help says so.
    """
    options = _parser().parse_args(arguments)
    try:
        # Airflow logs to standard output, which is kept for what was asked for.
        with redirect_stdout(sys.stderr):
            outcome = options.run(options)
    except ConfigError as error:
        _complain(f"error: {error}")
        return 2
    except SSEStreamError as error:
        kind = "" if type(error) is SSEStreamError else f"{type(error).__name__}: "
        _complain(f"error: {kind}{error}")
        return int(options.failed)
    if outcome.raw is not None:
        sys.stdout.buffer.write(outcome.raw)
    elif options.json:
        print(json.dumps(outcome.result, indent=2))
    else:
        print("\n".join(safe(line) for line in outcome.lines))
    return int(outcome.code)


def _complain(text: str) -> None:
    print("\n".join(safe(line) for line in text.splitlines()), file=sys.stderr)


def command() -> None:
    """Be the program ``sse-stream``."""
    with suppress(BrokenPipeError):
        sys.exit(main())


def _program() -> str:
    name = os.path.basename(sys.argv[0])
    return name if name.startswith("sse-stream") else "python -m sse_stream"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_program(),
        description="Land server-sent events in PostgreSQL; set up, look at and repair its database.",
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
    command()
