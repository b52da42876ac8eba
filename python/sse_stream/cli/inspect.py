"""``inspect``: look at a feed that nobody has described, and write a preset to begin with."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from sse_stream.errors import SourceError
from sse_stream.inspection.identity import (
    event_type,
    find_control,
    find_identity,
    find_type_place,
    heartbeat_seconds,
    try_resume,
)
from sse_stream.inspection.sample import Sample, take_sample
from sse_stream.inspection.starter import (
    Starter,
    make_starter,
    misfit_words,
    stream_name,
    write_starter,
)
from sse_stream.probe import UnhealthyError, safe_url
from sse_stream.tokens import authorized

from . import Outcome
from .source import add_source, source
from .words import count, table

__all__ = ["EXAMPLES", "SUMMARY", "configure", "run"]

SUMMARY = "look at a feed: types, ids, heartbeat, columns; propose a preset and its tables"
EXAMPLES = """\
  python -m sse_stream inspect https://example.org/stream
  python -m sse_stream inspect https://example.org/stream --events 500 --write my_feed
  python -m sse_stream inspect /stream --source-conn my_feed --json

exit codes: 0 events came, 1 none did, or the source cannot be read, 2 wrong usage"""
# Enough to tell whether it goes on behind an id.
_RESUME_EVENTS = 3
_RESUME_SECONDS = 5.0
# Of a type's name, as far as people read it.
_WIDEST = 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_source(parser)
    parser.add_argument(
        "--events", type=int, default=200, metavar="N", help="look at so many events (200)"
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, metavar="S", help="and for so long at most (30)"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="write preset.toml and migrations there"
    )
    parser.add_argument("--name", help="name of the stream (by default from the URL)")


def run(options: argparse.Namespace) -> Outcome:
    """Look, and ask once more behind an early id."""
    settings = source(options)
    url = settings["url"]
    try:
        headers = authorized(settings["headers"], settings)
    except UnhealthyError as error:
        raise SourceError(str(error)) from None

    def ask(events: int, seconds: float, after: str | None = None) -> Sample:
        try:
            return take_sample(
                url,
                max_events=events,
                seconds=seconds,
                headers=headers,
                tls=settings,
                last_event_id=after,
            )
        except UnhealthyError as error:
            refused = str(error).endswith(("answers 401", "answers 403"))
            hint = "; give credentials by --source-conn or --bearer-file" if refused else ""
            raise SourceError(f"{error}{hint}") from None

    sample = ask(max(1, options.events), max(0.1, options.seconds))
    control = find_control(sample.events)
    data = [event for event in sample.events if event.type not in control[0]]
    data = [event for event in data if event.data.strip() not in control[1]]
    identity = find_identity(data)
    place = find_type_place(data)

    def again(after: str) -> Sample:
        return ask(_RESUME_EVENTS, min(_RESUME_SECONDS, max(0.1, options.seconds)), after)

    resume, why = try_resume(sample, identity, again)
    name = options.name or stream_name(url)
    found: dict[str, Any] = {
        "url": safe_url(url),
        "seconds": round(sample.seconds, 1),
        "events": len(sample.events),
        "types": dict(Counter(event_type(each, place) for each in data)),
        "control": {"types": control[0], "data": control[1]},
        "type_place": place,
        "id": {"kind": identity.kind, "place": identity.place, "dense": identity.dense},
        "resume_class": resume,
        "heartbeat_seconds": heartbeat_seconds(sample),
        "retry_ms": sample.retry_ms,
        "ended": sample.ended,
        "columns": {},
        "written": [],
    }
    lines = _summary(found, sample, identity.words, f"{resume or 'not known'}: {why}")
    if not data:
        lines.append("no event came; give it more time with --seconds")
        return Outcome(found, lines, 1)
    starter = make_starter(name, data, identity, place, resume=resume, control=control)
    found["columns"] = {
        kind: [
            {
                "name": each.name,
                "source": each.source,
                "type": each.sql_type,
                "always": each.always,
                "misfits": each.misfits,
            }
            for each in columns
        ]
        for kind, columns in starter.columns.items()
    }
    found["preset"], found["sql"] = starter.stream.toml, starter.sql
    lines += _columns(starter)
    if options.write is not None:
        about = f"From {count(len(sample.events), 'event')} of {safe_url(url)}."
        if resume is None:
            about += (
                f"\n# Whether it can be read again is not known: {why}.\n"
                "# Without a resume_class it counts as replayable; else say window or none."
            )
        found["written"] = [str(path) for path in write_starter(options.write, starter, about)]
        lines += _next_steps(options, found["written"])
    else:
        lines += ["", "--write FOLDER writes a preset and its tables to begin with"]
    return Outcome(found, lines)


def _summary(found: dict[str, Any], sample: Sample, ids: str, resume: str) -> list[str]:
    heartbeat = found["heartbeat_seconds"]
    signs = "none seen" if heartbeat is None else f"every {heartbeat} s"
    rows = [
        ("source", found["url"]),
        ("seen", f"{count(found['events'], 'event')} in {found['seconds']} s")
        if not found["ended"]
        else ("seen", f"{count(found['events'], 'event')}, then the response ended"),
        ("ids", ids),
        ("resume", resume),
        ("heartbeat", signs),
        ("retry", "not sent" if sample.retry_ms is None else f"{sample.retry_ms} ms"),
    ]
    if sample.oversize:
        rows.append(("oversize", f"{count(sample.oversize, 'event')} of more than 4 MiB"))
    signs_of = [*found["control"]["types"], *map(repr, found["control"]["data"])]
    if signs_of:
        rows.append(("no data", ", ".join(signs_of)))
    where = "the event: field" if found["type_place"] == "sse" else found["type_place"]
    rows.append(("types", f"{len(found['types'])}, by {where}"))
    return [
        *table(rows),
        *table([("", _short(kind), str(n)) for kind, n in found["types"].items()] or [("",)]),
    ]


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def _columns(starter: Starter) -> list[str]:
    lines = []
    for kind, columns in starter.columns.items():
        lines += ["", f"{kind}:"]
        rows = [
            (
                f"  {each.name}",
                each.sql_type,
                "always" if each.always else "sometimes",
                (f"{each.pointer} as {each.form}" if each.form else each.pointer)
                + misfit_words(each),
            )
            for each in columns
        ]
        lines += table(rows) if rows else ["  (no fields)"]
    return lines


def _next_steps(options: argparse.Namespace, written: list[str]) -> list[str]:
    folder = str(options.write)
    return [
        "",
        *(f"wrote {path}" for path in written),
        "next, once the names and types are as you want them:",
        f"  sse-stream migrate --preset {folder}",
        f"  sse-stream run {options.url} --preset {folder}",
    ]
