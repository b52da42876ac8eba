"""Columns for the data of one type of event, by what was seen of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Column", "find_columns", "parsed", "sql_name"]

_UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", re.IGNORECASE)
_DAY = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_DATE = re.compile(f"^{_DAY}$")
_LOCAL = re.compile(rf"^{_DAY}[Tt ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d{{1,9}})?)?$")
_TIME = re.compile(rf"{_LOCAL.pattern[:-1]}([Zz]|[+-]\d\d(:?\d\d)?)$")
# Leading zeros and signs would be lost; whole numbers as texts are mostly names of something.
_DECIMAL = re.compile(r"^-?(0|[1-9]\d*)(\.\d+)?$")
_IPV4 = re.compile(r"^(\d{1,3}\.){3}\d{1,3}$")
_TIME_NAMES = re.compile(r"(time|stamp|date|_at|(^|_)ts|when|created|updated|expires)s?$")
_VERSION_NAMES = re.compile(r"(^|_)(version|release|rev|revision|build)s?$")
_IP_NAMES = re.compile(r"(^|_)(ip|addr|address)$")
# What can be meant by a number of such a size: the years 2001 to 2065.
_EPOCHS = (("epoch_s", 1e9, 3e9), ("epoch_ms", 1e12, 3e12), ("epoch_us", 1e15, 3e15))
_DEEPEST = 6
_MOST_COLUMNS = 200
# An object whose members change from event to event is a map, not a record.
_MOST_CHANGING = 30
# Of data that is an object now and then, the rest are greetings and ends, not data.
_MOSTLY = 0.8
_NAME_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Column:
    """A column: its name, the pointer to its value, its type and what ``as`` the value has.

    ``always`` says that every event had it, not null.
    """

    name: str
    pointer: str
    sql_type: str
    form: str | None = None
    always: bool = False

    @property
    def source(self) -> str | dict[str, str]:
        """The source as a route has it."""
        return self.pointer if self.form is None else {"from": self.pointer, "as": self.form}


@dataclass
class _Place:
    """What was seen at one pointer."""

    values: list[Any] = field(default_factory=list)
    times: int = 0
    members: dict[str, _Place] = field(default_factory=dict)


def find_columns(texts: Sequence[str], taken: Iterable[str] = ()) -> list[Column]:
    """Return the columns for events with these data; ``taken`` are names that are in use.

    Data that is not an object becomes one column: ``data``.
    """
    root, count = _Place(), 0
    for text in texts:
        value = parsed(text)
        if isinstance(value, dict):
            count += 1
            _see(root, value, 0)
    if not root.members or count < _MOSTLY * len(texts):
        return _whole(texts, set(taken))
    columns: list[Column] = []
    names = set(taken)
    for pointer, place in _leaves(root, "", count):
        if len(columns) == _MOST_COLUMNS:
            break
        name = _free(sql_name(pointer), names)
        sql_type, form = _type(pointer, place.values)
        always = place.times == count and all(value is not None for value in place.values)
        columns.append(Column(name, pointer, sql_type, form, always))
    return columns


def parsed(text: str) -> Any:
    """Return the JSON value of a text, None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _whole(texts: Sequence[str], taken: set[str]) -> list[Column]:
    is_json = all(parsed(text) is not None or text.strip() == "null" for text in texts)
    sql_type = "jsonb" if is_json else "text"
    return [Column(_free("data", taken), "$data", sql_type, None, True)]


def _see(place: _Place, value: Any, depth: int) -> None:
    place.times += 1
    if isinstance(value, dict) and value and depth < _DEEPEST:
        for name, member in value.items():
            _see(place.members.setdefault(name, _Place()), member, depth + 1)
    else:
        place.values.append(value)


def _leaves(place: _Place, pointer: str, count: int) -> Iterable[tuple[str, _Place]]:
    for name, member in place.members.items():
        token = name.replace("~", "~0").replace("/", "~1")
        at = f"{pointer}/{token}"
        # Sometimes an object and sometimes not: null is no other thing, anything else is.
        other = [value for value in member.values if value is not None and value != {}]
        if member.members and not other and not _is_map(member):
            yield from _leaves(member, at, count)
        elif member.members:
            yield at, _Place([{}, *member.values], member.times)
        else:
            yield at, member


def _is_map(place: _Place) -> bool:
    if len(place.members) <= _MOST_CHANGING:
        return False
    seen = sum(member.times for member in place.members.values())
    return seen < len(place.members) * place.times / 2


def _type(pointer: str, values: list[Any]) -> tuple[str, str | None]:
    kinds = {_kind(value) for value in values if value is not None}
    name = sql_name(pointer)
    if kinds == {bool}:
        return "boolean", None
    if kinds and kinds <= {int, float}:
        numbers = [value for value in values if value is not None]
        if _TIME_NAMES.search(name):
            for form, low, high in _EPOCHS:
                if all(low <= number < high for number in numbers):
                    return "timestamptz", form
        if kinds == {int}:
            fits = all(-(2**63) <= number < 2**63 for number in numbers)
            return "bigint" if fits else "numeric", None
        return "numeric", None
    if kinds == {str}:
        return _text_type(name, [value for value in values if value is not None]), None
    # Nothing but null was seen, or more than one kind: any JSON fits.
    return "jsonb", None


def _kind(value: Any) -> type:
    return type(value) if isinstance(value, (bool, int, float, str)) else object


def _text_type(name: str, texts: list[str]) -> str:
    for pattern, sql_type in (
        (_UUID, "uuid"),
        (_TIME, "timestamptz"),
        (_LOCAL, "timestamp"),
        (_DATE, "date"),
    ):
        if all(pattern.match(text) for text in texts):
            return sql_type
    if _IP_NAMES.search(name) and all(_is_address(text) for text in texts):
        return "inet"
    fractions = any("." in text for text in texts) and not _VERSION_NAMES.search(name)
    return "numeric" if fractions and all(_DECIMAL.match(text) for text in texts) else "text"


def _is_address(text: str) -> bool:
    parts = text.split(".")
    return bool(_IPV4.match(text)) and all(
        int(part) < 256 and str(int(part)) == part for part in parts
    )


def sql_name(text: str) -> str:
    """Return a plain lower-case SQL name for a pointer, a type or a part of a URL."""
    words = _NAME_BREAKS.sub("_", text.replace("~1", "/").replace("~0", "~"))
    name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    if not name:
        return "value"
    return f"_{name}"[:60] if name[0].isdigit() else name[:60]


def _free(name: str, names: set[str]) -> str:
    free, number = name, 2
    while free in names:
        free, number = f"{name[:56]}_{number}", number + 1
    names.add(free)
    return free
