"""Values between Python and PostgreSQL, for the cursor of event processors.

Parameters go out as text, whose type the server infers from where they stand. Results come
back in PostgreSQL's binary format.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

__all__ = ["from_binary", "to_text"]

_EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)
_NUMERIC_SIGNS = {0xC000: Decimal("NaN"), 0xD000: Decimal("Infinity"), 0xF000: Decimal("-Infinity")}


def to_text(value: Any) -> str | None:
    """Return a parameter in PostgreSQL's text form; None is null.

    Raises:
        TypeError: values of this type have no such form.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal, UUID)):
        return str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        # Days apart, as PostgreSQL keeps them; both other parts are never negative.
        return f"{value.days} days {value.seconds}.{value.microseconds:06d} seconds"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return _array(value)
    if callable(dumps := getattr(value, "dumps", None)) and hasattr(value, "adapted"):
        # psycopg2's Json, known by its shape: this package does not depend on psycopg2.
        return str(dumps(value.adapted))
    raise TypeError(
        f"cannot pass a value of type {type(value).__name__} to the database; "
        "pass its text and cast it in the statement, as in %s::inet"
    )


def _array(values: list[Any] | tuple[Any, ...]) -> str:
    return "{" + ",".join(_array_item(value) for value in values) + "}"


def _array_item(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return _array(value)
    text = to_text(value)
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def from_binary(type_name: str, raw: bytes | None) -> Any:
    """Return a result value, whose PostgreSQL type is ``type_name``, as a Python object.

    Raises:
        TypeError: the type is not known here; cast it to text in the statement.
    """
    if raw is None:
        return None
    decode = _DECODERS.get(type_name)
    if decode is None:
        raise TypeError(
            f"a result column has the type {type_name!r}, which has no Python form here; "
            "cast it to text in the statement"
        )
    return decode(raw)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8")


def _unpack(layout: str) -> Callable[[bytes], Any]:
    compiled = struct.Struct("!" + layout)
    return lambda raw: compiled.unpack(raw)[0]


def _numeric(raw: bytes) -> Decimal:
    count, weight, sign, scale = struct.unpack_from("!hhHH", raw)
    if sign in _NUMERIC_SIGNS:
        return _NUMERIC_SIGNS[sign]
    number = 0
    for digit in struct.unpack_from(f"!{count}H", raw, 8):
        number = number * 10000 + digit
    # The last group stands for 10000 ** (weight - count + 1); the scale keeps trailing zeros.
    exponent = 4 * (weight - count + 1)
    shift = exponent + scale
    number = number * 10**shift if shift >= 0 else number // 10**-shift
    digits = tuple(int(character) for character in str(number))
    return Decimal((1 if sign == 0x4000 else 0, digits, -scale))


def _timestamptz(raw: bytes) -> datetime:
    return _EPOCH + timedelta(microseconds=_int8(raw))


def _timestamp(raw: bytes) -> datetime:
    return _timestamptz(raw).replace(tzinfo=None)


def _date(raw: bytes) -> date:
    return date(2000, 1, 1) + timedelta(days=_int4(raw))


def _time(raw: bytes) -> time:
    return (_EPOCH + timedelta(microseconds=_int8(raw))).time()


_int4 = _unpack("i")
_int8 = _unpack("q")
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "bool": _unpack("?"),
    "int2": _unpack("h"),
    "int4": _int4,
    "int8": _int8,
    "oid": _unpack("I"),
    "float4": _unpack("f"),
    "float8": _unpack("d"),
    "numeric": _numeric,
    "text": _text,
    "varchar": _text,
    "bpchar": _text,
    "name": _text,
    "unknown": _text,
    "bytea": bytes,
    "uuid": lambda raw: UUID(bytes=raw),
    "json": json.loads,
    "jsonb": lambda raw: json.loads(raw[1:]),
    "timestamptz": _timestamptz,
    "timestamp": _timestamp,
    "date": _date,
    "time": _time,
    "void": lambda raw: None,
}
