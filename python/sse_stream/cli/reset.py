"""``reset``: move a stream's offset by hand, after showing what follows from it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from sse_stream import _native
from sse_stream.errors import ConfigError, SSEStreamError
from sse_stream.shards import Shard

from . import Outcome
from .database import add_database, database
from .surroundings import (
    Source,
    Variable,
    add_shard,
    add_source,
    add_variable,
    look_at_source,
    look_at_variable,
    person,
)
from .words import count

__all__ = ["EXAMPLES", "SUMMARY", "configure", "run"]

SUMMARY = "move a stream's offset, after a confirmation"
EXAMPLES = """\
  python -m sse_stream reset --stream restaurant --to 120000
  python -m sse_stream reset --stream restaurant --to beginning --yes
  python -m sse_stream reset --stream restaurant --to head --source-url http://127.0.0.1:8000/stream

Backwards, events come again and are recognised. Forwards, events are left out: they are written
down as a gap. Refused while a run holds the stream, so pause the DAG first.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--stream", metavar="NAME", required=True, help="the stream to move")
    parser.add_argument(
        "--to",
        metavar="OFFSET|beginning|head",
        required=True,
        help="the last offset that counts as read; the next run starts behind it",
    )
    add_shard(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask for the stream's name")
    add_source(parser)
    add_variable(parser)
    parser.add_argument(
        "--set-variable", action="store_true", help="set the Airflow Variable as well"
    )
    add_database(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Show the move, ask, move."""
    where = database(options)
    source = look_at_source(options)
    shard = Shard.parse(options.shard)
    variable = look_at_variable(options, options.stream, shard)
    if options.set_variable and variable.unknown:
        raise ConfigError(f"--set-variable: {variable.unknown}; nothing was moved")
    asked: dict[str, Any] = {
        "stream": shard.stream(options.stream),
        "shard": shard.index,
        "to": _target(options.to, source),
        "head": source.head,
        "head_epoch": source.epoch,
        "mirror": variable.text,
        "by": person(),
        "fence": None,
    }
    plan = _native.reset(where, json.dumps(asked), dry=True)
    if not options.yes:
        print(*_plan_lines(plan), sep="\n", file=sys.stderr)  # noqa: T201 (the question)
        if not _confirmed(options.stream):
            raise SSEStreamError("not confirmed; nothing was moved")
    asked["fence"] = plan["fence"]
    done = _native.reset(where, json.dumps(asked), dry=False)
    done["variable"] = variable.name
    lines = [f"stream {done['stream']} was moved from offset {done['from']} to {done['to']}"]
    if gap := done["gap"]:
        lines.append(f"offsets {gap['first']} to {gap['last']} are written down as a gap")
    lines.append(_tell_variable(options, variable, done))
    return Outcome(done, lines)


def _target(to: str, source: Source) -> int:
    if to == "beginning":
        return 0
    if to == "head":
        if source.head is None:
            raise ConfigError(f"--to head: the source's newest offset is unknown: {source.unknown}")
        return source.head
    try:
        number = int(to)
    except ValueError:
        number = -1
    if not 0 <= number < 2**63:
        raise ConfigError(f"--to {to!r} is no offset; give a number from 0, beginning or head")
    return number


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    lines = [
        f"stream {plan['stream']}, epoch {plan['epoch'] or '(not known yet)'}",
        f"  now      offset {plan['from']}, highest committed {plan['high_water']}, "
        f"last taken by {plan['owner']}",
        f"  then     offset {plan['to']}",
    ]
    if plan["again"]:
        events = count(plan["again"], "event")
        lines.append(
            f"  follows  up to {events} come again: those that landed are recognised and counted "
            "as duplicates"
        )
    elif gap := plan["gap"]:
        missed = count(gap["last"] - gap["first"] + 1, "event")
        lines.append(
            f"  follows  {missed} ({gap['first']} to {gap['last']}) will NOT be read; they are "
            "written down as a gap"
        )
    elif plan["to"] != plan["from"]:
        lines.append("  follows  nothing is left out: all of it was committed before")
    else:
        lines.append("  follows  the offset stays; only the fence is raised")
    return lines


def _confirmed(stream: str) -> bool:
    print(f"type the stream's name to go on: {stream!r}: ", end="", file=sys.stderr, flush=True)  # noqa: T201
    return sys.stdin.readline().strip() == stream


def _tell_variable(options: argparse.Namespace, variable: Variable, done: dict[str, Any]) -> str:
    command = f"airflow variables set {variable.name} {done['to']}"
    if options.set_variable:
        from sse_stream._airflow import write_variable

        write_variable(variable.name, str(done["to"]))
        return f"Variable {variable.name} was set to {done['to']}"
    if done["pending"] is not None:
        return (
            f"warning: Variable {variable.name} asks for {done['pending']}, and the next run will "
            f"follow it; to go on from {done['to']}: {command}"
        )
    if variable.unknown:
        return (
            f"Variable {variable.name} was not looked at ({variable.unknown}); the next run sets "
            f"it, unless a person changed it; to set it now: {command}"
        )
    return f"Variable {variable.name} will be set by the next run"
