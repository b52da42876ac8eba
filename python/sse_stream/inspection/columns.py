"""Columns for the data of one type of event, by what was seen of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

__all__ = ["Column", "find_columns", "parsed", "sql_name"]

_UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", re.IGNORECASE)
_DAY = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_DATE = re.compile(f"^{_DAY}$")
_LOCAL = re.compile(rf"^{_DAY}[Tt ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d{{1,9}})?)?$")
_TIME = re.compile(rf"{_LOCAL.pattern[:-1]}([Zz]|[+-]\d\d(:?\d\d)?)$")
# Leading zeros and signs would be lost; whole numbers as texts are mostly names of something.
_DECIMAL = re.compile(r"^-?(0|[1-9]\d*)(\.\d+)?$")
_TIME_NAMES = re.compile(
    r"(time|stamp|date|_at|(^|_)ts|when|created|updated|expires|epoch|unix|_ms|_us)s?$"
)
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
# One value in twenty may be a mistake of the source, which will be a dead letter; of fewer than
# twenty each counts.
_MISTAKES = 0.05
_NAME_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Column:
    """A column: its name, the pointer to its value, its type and what ``as`` the value has.

    ``always`` says that every event had it, not null; ``misfits`` values seen do not fit the type.
    """

    name: str
    pointer: str
    sql_type: str
    form: str | None = None
    always: bool = False
    misfits: int = 0

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
        sql_type, form, misfits = _find_type(pointer, place.values)
        always = place.times == count and all(value is not None for value in place.values)
        columns.append(Column(name, pointer, sql_type, form, always, misfits))
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
        objects = member.times - len(member.values)
        if member.members and _are_few(len(other), objects + len(other)) and not _is_map(member):
            yield from _leaves(member, at, count)
        elif member.members:
            yield at, _Place([*[{}] * objects, *member.values], member.times)
        else:
            yield at, member


def _is_map(place: _Place) -> bool:
    if len(place.members) <= _MOST_CHANGING:
        return False
    seen = sum(member.times for member in place.members.values())
    return seen < len(place.members) * place.times / 2


def _are_few(others: int, of: int) -> bool:
    return others <= of * _MISTAKES


def _find_type(pointer: str, values: list[Any]) -> tuple[str, str | None, int]:
    """Return type and form of a column, and how many of the values do not fit."""
    there = [value for value in values if value is not None]
    kinds = Counter(_wide_kind(value) for value in there)
    if len(kinds) > 1:
        usual, times = kinds.most_common(1)[0]
        if usual is not object and _are_few(len(there) - times, len(there)):
            usual_values = [value for value in there if _wide_kind(value) is usual]
            sql_type, form, misfits = _find_type(pointer, usual_values)
            return sql_type, form, misfits + len(there) - times
    if set(kinds) == {str}:
        sql_type, misfits = _text_type(sql_name(pointer), there)
        return sql_type, None, misfits
    return *_type(pointer, there), 0


def _wide_kind(value: Any) -> type:
    kind = _kind(value)
    return float if kind is int else kind


def _type(pointer: str, values: list[Any]) -> tuple[str, str | None]:
    kinds = {_kind(value) for value in values}
    name = sql_name(pointer)
    if kinds == {bool}:
        return "boolean", None
    if kinds and kinds <= {int, float}:
        if _TIME_NAMES.search(name):
            for form, low, high in _EPOCHS:
                if all(low <= number < high for number in values):
                    return "timestamptz", form
        if kinds == {int}:
            fits = all(-(2**63) <= number < 2**63 for number in values)
            return "bigint" if fits else "numeric", None
        return "numeric", None
    # Nothing but null was seen, or more than one kind: any JSON fits.
    return "jsonb", None


def _kind(value: Any) -> type:
    return type(value) if isinstance(value, (bool, int, float, str)) else object


def _text_type(name: str, texts: list[str]) -> tuple[str, int]:
    """Return a type, and how many of the texts it does not take."""
    for sql_type, holds in _TEXT_TYPES:
        if sql_type == "inet" and not _IP_NAMES.search(name):
            continue
        if sql_type == "numeric" and not _has_fractions(name, texts):
            continue
        others = sum(not holds(text) for text in texts)
        if _are_few(others, len(texts)):
            return sql_type, others
    return "text", 0


def _has_fractions(name: str, texts: list[str]) -> bool:
    decimals = (text for text in texts if _DECIMAL.match(text))
    return not _VERSION_NAMES.search(name) and any("." in text for text in decimals)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_TEXT_TYPES: tuple[tuple[str, Callable[[str], object]], ...] = (
    ("uuid", _UUID.match),
    ("timestamptz", _TIME.match),
    ("timestamp", _LOCAL.match),
    ("date", _DATE.match),
    ("inet", _is_address),
    ("numeric", _DECIMAL.match),
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
