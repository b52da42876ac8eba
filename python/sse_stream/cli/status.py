"""``status``: where streams stand, for people and programs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from sse_stream import _native
from sse_stream.errors import ConfigError
from sse_stream.presets import load_preset
from sse_stream.shards import Shard

from . import Outcome
from .database import add_database, database
from .surroundings import (
    Source,
    Variable,
    add_source,
    add_variable,
    look_at_source,
    look_at_variable,
)
from .words import age, count, gap_words, label, table

__all__ = ["EXAMPLES", "SUMMARY", "configure", "run"]

SUMMARY = "show offset, lag, owner, last runs, gaps, dead letters and what waits"
EXAMPLES = """\
  python -m sse_stream status
  python -m sse_stream status --stream restaurant --source-url http://127.0.0.1:8000/stream
  python -m sse_stream status --conn-id postgres_restaurant --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--stream", metavar="NAME", help="only this stream (by default all)")
    which.add_argument("--preset", metavar="NAME|PATH", help="only the stream of this feed")
    add_source(parser)
    add_variable(parser)
    add_database(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Look at everything and change nothing."""
    where = database(options)
    wanted = load_preset(options.preset).name if options.preset else options.stream
    status = _native.status(where)
    # The parts of a stream, too, that several tasks share.
    streams = status["streams"] = [
        row
        for row in status["streams"]
        if wanted in (None, row["stream"], Shard.kept(row["stream"], row["shard"])[0])
    ]
    if len({row["stream"] for row in streams}) > 1:
        for name in ("source_url", "source_conn", "health_url", "variable"):
            if getattr(options, name):
                raise ConfigError(
                    f"--{name.replace('_', '-')} belongs to one stream and the database has "
                    "several; name one with --stream"
                )
    # Asked after the database, so that the source cannot seem to be behind us.
    source = look_at_source(options)
    lines = []
    for row in streams:
        name, shard = Shard.kept(row["stream"], row["shard"])
        variable = look_at_variable(options, name, shard)
        row["lag"], why = lag(row, source)
        row["source"] = {
            "url": source.url,
            "epoch": source.epoch,
            "head": source.head,
            "oldest": source.oldest,
            "unknown": source.unknown,
        }
        row["variable"] = {
            "name": variable.name,
            "value": variable.text,
            "unknown": variable.unknown,
        }
        lines += [*_stream_lines(row, why, variable), ""]
    if not streams:
        what = f"stream {wanted!r} has no offset yet" if wanted else "no stream has an offset yet"
        lines += [f"{what}; its first run writes it", ""]
    applied = ", ".join(f"{owner}={at}" for owner, at in sorted(status["migrations"].items()))
    lines.append(f"migrations: {applied or 'none'}")
    return Outcome(status, lines)


def lag(row: Mapping[str, Any], source: Source) -> tuple[int | None, str]:
    """Return how many offsets the source is ahead, None if unknown, and the words for it."""
    if source.head is None:
        return None, f"unknown: {source.unknown}"
    if row["epoch"] is not None and source.epoch is not None and row["epoch"] != source.epoch:
        return None, f"unknown: the source is in epoch {source.epoch}, at offset {source.head}"
    behind = source.head - row["position"]
    if behind < 0:
        return None, f"unknown: the source's newest offset is {source.head}, below ours"
    return behind, f"{count(behind, 'event')} behind the source, which is at {source.head}"


def _stream_lines(row: Mapping[str, Any], lag_words: str, variable: Variable) -> list[str]:
    name, part = Shard.kept(row["stream"], row["shard"])
    held = f"held by database session {row['held_by']}" if row["held"] else "not running"
    return [
        f"stream {part.words(name)}",
        *(
            f"  {name:<14}{text}"
            for name, text in (
                (
                    "offset",
                    f"{row['position']} in epoch {row['epoch'] or '(not known yet)'}, "
                    f"highest committed {row['high_water']}",
                ),
                ("lag", lag_words),
                ("Variable", _variable_words(row, variable)),
                ("owner", f"{row['owner'] or 'nobody yet'}, {held}"),
                ("last heard", age(row["last_heard_seconds"], "never")),
                ("waiting", _waiting_words(row)),
                ("gaps", _gap_words(row)),
                ("dead letters", _letter_words(row)),
            )
        ),
        *(f"    {_gap_line(gap, row)}" for gap in row["gaps"]),
        "  last runs",
        *(f"    {line}" for line in _run_lines(row["last_runs"])),
    ]


def _variable_words(row: Mapping[str, Any], variable: Variable) -> str:
    recorded = "nothing" if row["mirrored"] is None else row["mirrored"]
    if variable.unknown:
        return f"{variable.name} unknown: {variable.unknown}; last recorded: {recorded}"
    shown = "is not set" if variable.text is None else f"= {variable.text}"
    return f"{variable.name} {shown}; last recorded: {recorded}"


def _waiting_words(row: Mapping[str, Any]) -> str:
    if not row["waiting"]:
        return "none"
    return (
        f"{count(row['waiting'], 'event')} for a parent, the oldest {age(row['waiting_seconds'])}"
    )


def _gap_words(row: Mapping[str, Any]) -> str:
    words = "none open"
    if row["open_gaps"]:
        many = "how much was missed nobody knows"
        if row["resume_token"] is None:
            many = f"{count(row['missed_offsets'], 'offset')} missed"
        words = f"{row['open_gaps']} open, {many}"
    if row["reconnect_gaps"]:
        words += f"; {count(row['reconnect_gaps'], 'time')} nobody listened to what comes only once"
    return words


def _gap_line(gap: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    counted = row["resume_token"] is not None
    return f"gap {gap_words(gap, counted=counted)}, {gap['noticed_at'][:19]}"


def _letter_words(row: Mapping[str, Any]) -> str:
    if not row["dead_letters"]:
        return "none open"
    reasons = ", ".join(
        f"{each['count']} {each['reason_code']} (oldest {age(each['oldest_seconds'])})"
        for each in row["dead_letter_reasons"]
    )
    return f"{row['dead_letters']} open: {reasons}"


def _run_lines(runs: list[dict[str, Any]]) -> list[str]:
    if not runs:
        return ["none"]
    rows = [("started", "ran", "state", "task", "try", "events", "rows", "ended by")]
    for run in runs:
        ran = "" if run["ran_seconds"] is None else f"{run['ran_seconds']} s"
        rows.append(
            (
                run["started_at"][:19],
                ran,
                run["state"],
                label(run),
                str(run["try_number"]),
                str(run["events"]),
                str(run["rows"]),
                _ended_by(run),
            )
        )
    lines = table(rows)
    notes: list[str] = []
    for line, run in zip(lines[1:], runs, strict=True):
        notes.append(line)
        if run["error"]:
            notes.append(f"  error: {run['error']}")
        if run["log_url"] and run["state"] != "ended":
            notes.append(f"  log: {run['log_url']}")
    return [lines[0], *notes]


def _ended_by(run: Mapping[str, Any]) -> str:
    if run["stop_reason"] == "reset":
        return f"reset from {run['first_offset']} to {run['last_offset']} by {run['run_id']}"
    return run["stop_reason"] or ("error" if run["error"] else "")
