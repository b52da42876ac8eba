"""Event processors: Python functions that handle one event type inside the batch's transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ConfigError
from .values import from_binary, to_text

if TYPE_CHECKING:
    from ._native import CursorPort

__all__ = [
    "Cursor",
    "EventProcessor",
    "create_custom_event_processor",
    "event_processor",
    "processors_by_type",
    "run_processor",
]

EventProcessor = Callable[["Cursor", dict[str, Any], Any], Any]
_F = TypeVar("_F", bound=Callable[..., Any])
_MARK = "__sse_event_type__"


def event_processor(event_type: str) -> Callable[[_F], _F]:
    """Mark a function ``(cursor, event, payload)`` as the processor of ``event_type``.

    The function itself is returned unchanged, so that it can be called and tested alone.
    """
    if not isinstance(event_type, str) or not event_type:
        raise ConfigError("event_processor needs the event type, as in @event_processor('refund')")

    def mark(function: _F) -> _F:
        setattr(function, _MARK, event_type)
        return function

    return mark


create_custom_event_processor = event_processor
"""The original's name of :func:`event_processor`."""


def processors_by_type(
    processors: Mapping[str, EventProcessor] | Iterable[EventProcessor] | None,
) -> dict[str, EventProcessor]:
    """Return processors as a dict by event type, from a dict or from marked functions.

    Raises:
        ConfigError: a processor is not callable, has no mark, or a type occurs twice.
    """
    if processors is None:
        return {}
    if isinstance(processors, Mapping):
        pairs = list(processors.items())
    else:
        pairs = [(_marked_type(function), function) for function in processors]
    by_type: dict[str, EventProcessor] = {}
    for event_type, function in pairs:
        if not callable(function):
            raise ConfigError(f"the processor of event type {event_type!r} is not callable")
        if event_type in by_type:
            raise ConfigError(f"event type {event_type!r} has two processors; keep one")
        by_type[event_type] = function
    return by_type


def _marked_type(function: Any) -> str:
    event_type = getattr(function, _MARK, None)
    if not isinstance(event_type, str):
        name = getattr(function, "__name__", repr(function))
        raise ConfigError(
            f"event processor {name!r} has no event type; "
            "mark it with @event_processor('type') or pass a dict"
        )
    return event_type


def run_processor(function: EventProcessor, data: str, port: CursorPort) -> None:
    """Call ``function`` for one event; ``data`` is its envelope as JSON text."""
    event = json.loads(data)
    payload = event.get("payload", event) if isinstance(event, dict) else event
    function(Cursor(port), event, payload)


class Cursor:
    """The database cursor of a processor, inside the transaction of the event's batch.

    The subset of DB-API that such functions use: ``execute``, ``executemany``, the fetch
    methods, iteration, ``rowcount`` and ``description``. It is valid during the call only;
    commit and rollback belong to the engine.

    It is not psycopg2's cursor, though functions written for that mostly run unchanged:

    - The server types a parameter by where it stands, not by its Python type: where that is
      not clear, cast it, as in ``select %s::int`` or ``%s::timestamptz - interval '1 day'``.
    - A dict and psycopg2's ``Json(...)`` become JSON. Lists and tuples become arrays: write
      ``id = any(%s)`` in place of ``id in %s``, and pass a list that is to be JSON as
      ``Json(...)``. For types not known here pass text and cast it.
    - psycopg2's other adapters, ``psycopg2.sql`` and ``psycopg2.extras`` want a connection of
      psycopg2. In place of ``execute_values`` use ``executemany``, or one statement with
      ``unnest(%s::text[], %s::int[])``.
    - Results of types without a Python form here, such as arrays, intervals and ranges, raise
      TypeError: select ``to_jsonb(tags)`` or ``span::text``.
    """

    def __init__(self, port: CursorPort) -> None:
        self._port = port
        self._rows: list[tuple[Any, ...]] = []
        self._next = 0
        self.rowcount = -1
        self.description: list[tuple[Any, ...]] | None = None

    def execute(
        self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> Cursor:
        """Run one statement with ``%s`` or ``%(name)s`` parameters.

        A statement that fails raises; the event then becomes a dead letter, even if the
        exception is caught.
        """
        columns, rows, rowcount = self._port.query(query, _parameters(params))
        types = [type_name for _, type_name in columns]
        self._rows = [tuple(map(from_binary, types, row)) for row in rows]
        self._next, self.rowcount = 0, rowcount
        self.description = [(name, *[None] * 6) for name, _ in columns] if columns else None
        return self

    def executemany(self, query: str, params: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
        """Run one statement once per set of parameters; ``rowcount`` becomes the sum."""
        total = 0
        for each in params:
            self.execute(query, each)
            total += max(self.rowcount, 0)
        self._rows, self._next, self.rowcount, self.description = [], 0, total, None

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None after the last."""
        if self._next >= len(self._rows):
            return None
        self._next += 1
        return self._rows[self._next - 1]

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Return up to ``size`` further rows."""
        rows = self._rows[self._next : self._next + size]
        self._next += len(rows)
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all remaining rows."""
        return self.fetchmany(len(self._rows))

    def close(self) -> None:
        """Forget fetched rows; the engine closes the statement itself."""
        self._rows, self._next = [], 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parameters(
    params: Sequence[Any] | Mapping[str, Any] | None,
) -> list[tuple[str | None, str | None]] | None:
    if params is None:
        return None
    if isinstance(params, Mapping):
        return [(name, to_text(value)) for name, value in params.items()]
    if isinstance(params, (str, bytes)):
        raise TypeError("parameters are a sequence or a mapping, not one string")
    return [(None, to_text(value)) for value in params]
