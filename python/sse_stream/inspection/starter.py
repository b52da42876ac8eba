"""A preset to begin with: streams and routes from a sample, and the tables they need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sse_stream.errors import ConfigError
from sse_stream.routes import Route, Stream

from .columns import Column, find_columns, sql_name
from .identity import Identity, event_type
from .sample import Event

__all__ = ["Starter", "make_starter", "misfit_words", "stream_name", "write_starter"]

_GENERIC = {"stream", "events", "sse", "subscribe", "v1", "v2", "api"}


@dataclass(frozen=True)
class Starter:
    """A stream with a route for each type, and the SQL that makes its tables."""

    stream: Stream
    sql: str
    columns: Mapping[str, Sequence[Column]]


def stream_name(url: str) -> str:
    """Return a name for the stream at this address."""
    parts = urlsplit(url)
    words = [word for word in parts.path.split("/") if word and word.lower() not in _GENERIC]
    host = (parts.hostname or "feed").split(".")
    name = words[-1] if words else host[-2] if len(host) > 1 and not host[-1].isdigit() else ""
    return sql_name(name) if name else "my_feed"


def make_starter(
    name: str,
    events: Sequence[Event],
    identity: Identity,
    type_place: str,
    *,
    resume: str | None,
    control: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> Starter:
    """Propose routes and tables: one for each type of event that is data."""
    from sse_stream import _native

    schema = sql_name(name)
    routes, tables, columns, taken = [], [], {}, set[str]()
    events = [
        event
        for event in events
        if event.type not in control[0] and event.data.strip() not in control[1]
    ]
    for kind in sorted({event_type(event, type_place) for event in events}):
        texts = [event.data for event in events if event_type(event, type_place) == kind]
        table = f"{schema}.{_table_name(kind, taken)}"
        key, sources, fixed = _key(identity)
        found = find_columns(texts, fixed)
        columns[kind] = found
        routes.append(
            Route(
                event=kind,
                table=table,
                key=key,
                columns={**sources, **{each.name: each.source for each in found}},
            )
        )
        tables.append(
            {
                "table": table,
                "comment": f"Events of the type {kind}, by {len(texts)} of them.",
                "key": list(key),
                "columns": [
                    *(_plan(column, sql_type, True) for column, sql_type in fixed.items()),
                    *(
                        _plan(each.name, each.sql_type, False, _note(each, len(texts)))
                        for each in found
                    ),
                ],
            }
        )
    stream = Stream(
        name=schema,
        id=None if identity.place == "sse" else identity.place,
        ids=None if identity.kind == "integer" else identity.kind,
        # What goes without saying for integers.
        resume_class=None if (identity.kind, resume) == ("integer", "replayable") else resume,
        event_type=None if type_place == "sse" else type_place,
        control=tuple(control[0]),
        control_data=tuple(control[1]),
        offsets="dense" if identity.dense else None,
        time=_time(columns.values()),
        routes=routes,
    )
    return Starter(stream, _native.propose_tables(json.dumps(tables)), columns)


def _time(columns: Iterable[Sequence[Column]]) -> str | None:
    """Return the pointer at which every event of every type has a time."""
    times = [
        [each.pointer for each in found if each.sql_type == "timestamptz" and each.always]
        for found in columns
    ]
    common = [place for place in times[0] if all(place in other for other in times)]
    return common[0] if common else None


def write_starter(folder: Path, starter: Starter, about: str) -> list[Path]:
    """Write ``preset.toml`` and ``migrations/0001_tables.sql`` into an empty or new folder.

    Raises:
        ConfigError: the folder is not empty, or cannot be written.
    """
    first, tables = about.splitlines()[0], folder / "migrations" / "0001_tables.sql"
    files = {
        folder / "preset.toml": f"# {about}\n# A proposal: names, types and keys are yours.\n\n"
        f"{starter.stream.toml}",
        tables: f"-- {first}\n-- Never changed once it has been applied: add 0002_... instead.\n\n"
        f"{starter.sql}",
    }
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{str(folder)!r} is not empty; name a new folder")
        (folder / "migrations").mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{str(folder)!r} cannot be written: {error.strerror}") from None
    return list(files)


def _key(identity: Identity) -> tuple[tuple[str, ...], dict[str, Any], dict[str, str]]:
    """Return key columns, their sources and their types."""
    if identity.kind == "integer":
        sources = {"epoch": "$epoch", "event_offset": "$id"}
        return ("epoch", "event_offset"), sources, {"epoch": "text", "event_offset": "bigint"}
    if identity.kind == "text":
        return ("sse_id",), {"sse_id": "$sse_id"}, {"sse_id": "text"}
    return (), {"received_at": "$received_at"}, {"received_at": "timestamptz"}


def _table_name(kind: str, taken: set[str]) -> str:
    name = sql_name(kind)
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    taken.add(free)
    return free


def _plan(name: str, sql_type: str, required: bool, note: str = "") -> dict[str, Any]:
    return {"name": name, "type": sql_type, "required": required, "note": note}


def _note(column: Column, count: int) -> str:
    often = f"in all {count} events seen" if column.always else "not in every event, or null"
    return f"{column.pointer}, {often}{misfit_words(column)}"


def misfit_words(column: Column) -> str:
    """Return how many of the values seen the column does not take, empty for none."""
    return f"; {column.misfits} seen would not fit" if column.misfits else ""
