"""Routes as Python objects: which event goes into which table.

A ``Stream`` is the same as a ``preset.toml`` and becomes its text; the engine checks it in full,
so that there is one truth. Importing this module loads no Airflow and no native code.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from .errors import ConfigError

__all__ = ["Route", "Stream"]

_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")
# What the Airflow Variable's name can be made of.
_NAME = re.compile(r"^[A-Za-z0-9_.-]+$")
# Keywords that Python or its readers know by another name.
_TOML_NAMES = {"event_type": "type"}
_MODES = ("insert", "upsert", "update", "append")


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where one kind of event goes.

    :param table: ``schema.table``
    :param columns: by column a JSON pointer (``/payload/id``), a field of the event (``$id``,
        ``$sse_id``, ``$event``, ``$epoch``, ``$received_at``, ``$data``), or a dict:
        ``{"from": "/at", "as": "epoch_ms"}``, ``{"const": "x"}``, ``{"coalesce": ["/a", "/b"]}``,
        ``{"join": ["/a", "/b"], "with": "-"}``, ``{"lower": "/a"}``
    :param event: event type, ``*`` for every type
    :param key: columns that identify a row and have a unique constraint; empty for ``append``
    :param mode: ``insert`` (a new row; the same again changes nothing), ``upsert`` (the newest
        values win), ``update`` (completes a row of another event) or ``append`` (no key); by
        default ``insert``, without a key ``append``
    :param parent: table that must hold the parent row; until it does, an event waits
    :param missing: where a mapped field is not there: ``null``, ``dead_letter`` or ``fail``
    :param mistyped: where a value does not fit its column: ``null``, ``dead_letter`` or ``fail``
    :param new_fields: where fields come that no route names: ``ignore``, ``dead_letter``,
        ``fail``, or ``add_column`` where the login owns the table
    :param known: pointers to fields that are there and left alone
    """

    table: str
    columns: Mapping[str, Any]
    event: str = "*"
    key: str | Sequence[str] = ()
    mode: str | None = None
    parent: str | None = None
    missing: str | None = None
    mistyped: str | None = None
    new_fields: str | None = None
    known: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.key, str):
            object.__setattr__(self, "key", (self.key,))
        if isinstance(self.known, str):
            object.__setattr__(self, "known", (self.known,))
        if self.mode is None:
            object.__setattr__(self, "mode", "insert" if self.key else "append")
        if self.mode not in _MODES:
            raise ConfigError(f"mode {self.mode!r} of a route is not one of {', '.join(_MODES)}")
        if not isinstance(self.columns, Mapping):
            raise ConfigError(f"columns of the route to {self.table!r} is not a dict by column")


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A feed: its conventions and its routes.

    :param name: the name under which offsets, dead letters and runs are kept
    :param routes: where events go; none where a run is given a raw ``table``
    :param id: where the id stands: ``sse`` (the ``id:`` field) or a JSON pointer
    :param ids: ``integer`` (growing numbers), ``text`` (tokens without an order), ``none``, or
        ``any`` where nothing is known
    :param resume: how a request says where to go on: ``last-event-id`` or ``{"query": "since"}``
    :param resume_class: what the source can send again: ``replayable``, ``window`` or ``none``
    :param event_type: where the type stands: ``sse`` (the ``event:`` field) or a JSON pointer
    :param epoch_header: response header that names the history which offsets belong to
    :param anchor_header: response header that names the id after which a response begins
    :param offsets: ``dense`` where ids have no holes, so that each hole is a loss, or ``sparse``
    :param split: pointer to the value by which events are shared out to several writers
    :param gap_event: type of the event with which the source says that others were missed
    :param filters: query parameters of the URL that select events
    :param pages: pointers into the pages of the feed's REST twin: ``events``, ``id``, ``type``
    :param time: pointer to the time of an event
    :param control: types of events that are no data
    :param control_data: the whole data of events that are no data
    :param done: the data with which the source says that all has been said
    :param options: further keys of the preset's ``[stream]``, by the names they have there
    """

    name: str
    routes: Sequence[Route] = ()
    id: str | None = None
    ids: str | None = None
    resume: str | Mapping[str, str] | None = None
    resume_class: str | None = None
    event_type: str | None = None
    epoch_header: str | None = None
    anchor_header: str | None = None
    offsets: str | None = None
    split: str | None = None
    gap_event: str | None = None
    filters: Sequence[str] = ()
    pages: Mapping[str, str] | None = None
    time: str | None = None
    control: Sequence[str] = ()
    control_data: Sequence[str] = ()
    done: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.match(self.name):
            raise ConfigError(
                f"the stream's name {self.name!r} is not made of letters, digits, '_', '.' and '-'"
            )
        if isinstance(self.routes, Route):
            object.__setattr__(self, "routes", (self.routes,))

    @property
    def toml(self) -> str:
        """The same as the text of a ``preset.toml``.

        Raises:
            ConfigError: a value has no form in TOML.
        """
        lines = ["[stream]"]
        stream = {**_given(self, but={"routes", "options"}), **self.options}
        lines += [f"{_key(name)} = {_value(value, name)}" for name, value in stream.items()]
        for route in self.routes:
            lines += ["", "[[route]]"]
            given = _given(route, but={"columns"})
            lines += [f"{_key(name)} = {_value(value, name)}" for name, value in given.items()]
            lines.append("[route.columns]")
            lines += [
                f"{_key(column)} = {_value(source, column)}"
                for column, source in route.columns.items()
            ]
        return "\n".join(lines) + "\n"


def _given(what: Route | Stream, *, but: set[str]) -> dict[str, Any]:
    values = {each.name: getattr(what, each.name) for each in fields(what) if each.name not in but}
    return {
        _TOML_NAMES.get(name, name): value
        for name, value in values.items()
        if value is not None and value != ()
    }


def _key(name: Any) -> str:
    if not isinstance(name, str):
        raise ConfigError(f"the name {name!r} in a route or stream is not text")
    return name if _BARE_KEY.match(name) else _text(name)


def _text(text: str) -> str:
    # A JSON string is a basic string of TOML, but for one character and halves of pairs.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError("a text in a route or stream holds half a character") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, where: str) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, (datetime, date, Decimal)):
        return _text(str(value))
    if isinstance(value, Mapping):
        members = (f"{_key(name)} = {_value(each, where)}" for name, each in value.items())
        return "{ " + ", ".join(members) + " }" if value else "{}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(_value(each, where) for each in value) + "]"
    raise ConfigError(
        f"{where!r} in a route or stream has a value of type {type(value).__name__}, "
        "which a preset cannot hold; use text, numbers, booleans, lists and dicts"
    )
