"""``run``: land a feed without Airflow."""

from __future__ import annotations

import argparse
import getpass
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sse_stream import _native
from sse_stream.bounds import until_settings
from sse_stream.errors import ConfigError, SSEStreamError
from sse_stream.presets import load_preset, raw_preset
from sse_stream.probe import safe_url

from . import Outcome
from .database import add_database, database
from .progress import ProgressLine
from .source import add_source, source
from .words import count

__all__ = ["EXAMPLES", "SUMMARY", "TRY_AGAIN", "configure", "run"]

SUMMARY = "land a feed in PostgreSQL without Airflow, exactly once, until stopped"
EXAMPLES = """\
  sse-stream run https://example.org/stream --table raw.my_feed --auto-create
  sse-stream run https://example.org/stream --preset path/to/folder --drain
  DATABASE_URL=postgresql://me@db/feeds sse-stream run /stream --source-conn my_feed --preset mine

SIGINT and SIGTERM end the run at a committed offset; the next run goes on behind it.

exit codes: 0 ended by a limit, the end of the stream or a signal; 1 failed and would fail
again; 2 wrong usage or settings; 75 failed for now: the source or the database could not be
reached, or another run holds the stream"""
# What sysexits.h calls a temporary failure.
TRY_AGAIN = 75
_LEASE_SECONDS = 60.0
_ATTEMPTS = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_source(parser)
    where = parser.add_argument_group("where to", "A preset, a raw table, or both.")
    where.add_argument(
        "--preset", metavar="NAME|PATH", help="a shipped preset or the path of your own"
    )
    where.add_argument(
        "--table", metavar="SCHEMA.TABLE", help="takes every event as it came, without routes"
    )
    where.add_argument(
        "--auto-create", action="store_true", help="create the raw table where it is missing"
    )
    where.add_argument("--stream", metavar="NAME", help="name of the offset (the preset's)")
    ends = parser.add_argument_group("when to end", "By default with SIGINT or SIGTERM.")
    ends.add_argument("--events", type=_count, metavar="N", help="after exactly so many events")
    ends.add_argument("--seconds", type=_positive, metavar="S", help="after so long")
    ends.add_argument("--idle", type=_positive, metavar="S", help="after so long without an event")
    ends.add_argument("--drain", action="store_true", help="when the source has told all it has")
    ends.add_argument(
        "--until",
        metavar="OFFSET|TIME",
        help="behind this offset, or before the first event of this time",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--writers", type=_count, default=1, metavar="N", help="database sessions (1)")
    how.add_argument(
        "--unknown-events",
        choices=("dead_letter", "raw_only", "ignore"),
        default="dead_letter",
        help="events that no route names (dead_letter)",
    )
    how.add_argument(
        "--on-bad-event",
        choices=("dead_letter", "fail"),
        default="dead_letter",
        help="events that cannot land (dead_letter)",
    )
    how.add_argument("--quiet", action="store_true", help="no progress, only warnings")
    add_database(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Run the engine until something ends it."""
    config = _config(options)
    stop = _native.StopFlag()
    line = ProgressLine(sys.stderr, quiet=options.quiet)
    line.say(f"stream {config['stream']!r} from {safe_url(config['source']['url'])}")
    try:
        with _stopped_by_signals(stop, line):
            report = _native.run(
                json.dumps(config),
                log=line.log,
                log_level=logging.WARNING if options.quiet else logging.INFO,
                stop=stop,
            )
    except SSEStreamError as error:
        line.end()
        if error.transient:
            # Not an error of usage, and not for good.
            return Outcome({"error": str(error)}, [f"failed for now: {error}"], TRY_AGAIN)
        raise
    line.end()
    return Outcome(report, _summary(report, config["stream"]))


def _config(options: argparse.Namespace) -> dict[str, Any]:
    if options.preset is None and options.table is None:
        raise ConfigError("nothing says where events go; give --preset, --table or both")
    if options.auto_create and options.table is None:
        raise ConfigError("--auto-create creates the raw table; name it with --table")
    preset = raw_preset(options.table) if options.preset is None else load_preset(options.preset)
    raw = {"table": options.table, "create": options.auto_create}
    return {
        "source": {**source(options), "max_attempts": _ATTEMPTS},
        "database": json.loads(database(options)),
        "preset": preset.toml,
        "raw_table": raw if options.table is not None else None,
        "stream": options.stream or preset.name,
        "max_events": options.events,
        "timeout_seconds": options.seconds,
        "idle_timeout_seconds": options.idle,
        "drain": options.drain,
        **until_settings(options.until),
        "writers": options.writers,
        "unknown_events": options.unknown_events,
        "on_bad_event": options.on_bad_event,
        "lease_timeout_seconds": _LEASE_SECONDS,
        "progress_seconds": 1.0,
        "run": {
            "run_id": f"by {getpass.getuser()}",
            "task_id": "sse-stream run",
            "map_index": -1,
            "owner": f"{socket.gethostname()}:{os.getpid()}",
        },
    }


@contextmanager
def _stopped_by_signals(stop: _native.StopFlag, line: ProgressLine) -> Iterator[None]:
    """Ask the run to end at the first signal; the second one is obeyed as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        stop.set()
        line.say("ending at a committed offset; once more to give that up")
        _restore(before)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        _restore(before)


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _summary(report: dict[str, Any], stream: str) -> list[str]:
    seconds = report["execution_time_seconds"]
    lines = [
        f"{count(report['events_processed'], 'event')} in {seconds:.1f} s "
        f"({report['events_per_second']:.0f}/s), ended by {report['stop_reason']}, "
        f"next after offset {report['position']}"
    ]
    lines += [f"  {table}: {count(rows, 'row')}" for table, rows in sorted(report["rows"].items())]
    told = {
        "duplicates": "came again and changed nothing",
        "dead_letters": f"became dead letters; see sse-stream dead-letters list --stream {stream}",
        "waiting": "wait for a parent",
        "ignored": "were ignored",
    }
    lines += [f"  {report[name]} {words}" for name, words in told.items() if report[name]]
    lines += [f"  gaps: {report['gaps']}, repaired: {report['gaps_repaired']}"] * bool(
        report["gaps"]
    )
    return lines


def _number(text: str, read: Callable[[str], float]) -> float:
    number = read(text)
    if not 0 < number < 2**53:
        raise ValueError
    return number


def _count(text: str) -> int:
    return int(_number(text, int))


def _positive(text: str) -> float:
    return _number(text, float)
