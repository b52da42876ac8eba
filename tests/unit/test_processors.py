"""Processors, their cursor, and values on their way to and from PostgreSQL."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extras import Json

from sse_stream import ConfigError, create_custom_event_processor, event_processor
from sse_stream.processors import Cursor, processors_by_type, run_processor
from sse_stream.values import from_binary, to_text


class Port:
    """Stands for the engine's side: records statements, answers what it was given."""

    def __init__(self, *answers: Any) -> None:
        self.asked: list[Any] = []
        self.answers = list(answers)

    def query(self, sql: str, params: Any = None) -> Any:
        self.asked.append((sql, params))
        return self.answers.pop(0) if self.answers else ([], [], 1)


def _nothing(cursor: Any, event: Any, payload: Any) -> None:
    pass


def test_the_mark_returns_the_function_itself() -> None:
    assert event_processor("a")(_nothing) is _nothing
    assert create_custom_event_processor is event_processor


def test_processors_from_dict_and_list() -> None:
    marked = event_processor("refund")(lambda cursor, event, payload: None)
    assert processors_by_type([marked]) == {"refund": marked}
    assert processors_by_type({"x": _nothing}) == {"x": _nothing}
    assert processors_by_type(None) == {}


def test_two_processors_for_one_type_are_refused() -> None:
    one = event_processor("a")(lambda cursor, event, payload: None)
    two = event_processor("a")(lambda cursor, event, payload: None)
    with pytest.raises(ConfigError, match="'a'"):
        processors_by_type([one, two])


def test_a_processor_without_a_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="event_processor"):
        event_processor("")
    with pytest.raises(ConfigError, match="event_processor"):
        event_processor(_nothing)  # type: ignore[arg-type]


def test_a_processor_gets_event_and_payload() -> None:
    seen = []
    data = {"event_type": "a", "payload": {"amount": 12.50}}
    run_processor(lambda c, event, payload: seen.append((event, payload)), json.dumps(data), Port())
    assert seen == [(data, {"amount": 12.5})]


def test_the_cursor_passes_parameters_as_text() -> None:
    port = Port()
    cursor = Cursor(port)
    cursor.execute("insert into t values (%s, %s)", (1, None))
    cursor.execute("update t set a = %(a)s", {"a": Decimal("2.50")})
    cursor.execute("select '100%'")
    assert port.asked == [
        ("insert into t values (%s, %s)", [(None, "1"), (None, None)]),
        ("update t set a = %(a)s", [("a", "2.50")]),
        ("select '100%'", None),
    ]


def test_the_cursor_fetches_rows() -> None:
    rows = [(number.to_bytes(4, "big"), b"x") for number in range(4)]
    cursor = Cursor(Port(([("n", "int4"), ("t", "text")], rows, 4)))
    assert cursor.execute("select n, t from t") is cursor
    assert cursor.rowcount == 4
    assert [column[0] for column in cursor.description or []] == ["n", "t"]
    assert cursor.fetchone() == (0, "x")
    assert cursor.fetchmany(2) == [(1, "x"), (2, "x")]
    assert cursor.fetchall() == [(3, "x")]
    assert cursor.fetchone() is None
    assert list(cursor) == []


def test_executemany_sums_the_row_counts() -> None:
    port = Port(([], [], 1), ([], [], 2))
    cursor = Cursor(port)
    cursor.executemany("insert into t values (%s)", [(1,), (2,)])
    assert cursor.rowcount == 3
    assert len(port.asked) == 2


def test_one_string_is_no_sequence_of_parameters() -> None:
    with pytest.raises(TypeError):
        Cursor(Port()).execute("select %s", "abc")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("a", "a"),
        (True, "true"),
        (7, "7"),
        (0.1, "0.1"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, timezone.utc), "2026-01-02T03:04:05.000006+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (b"\x00\xff", "\\x00ff"),
        ({"a": [1]}, '{"a": [1]}'),
        ([1, None, 'a"\\'], '{"1",NULL,"a\\"\\\\"}'),
        (Json([1, "a"]), '[1, "a"]'),
        (Json({"at": Decimal(1)}, dumps=lambda each: json.dumps(each, default=str)), '{"at": "1"}'),
        ([Json({"a": 1})], '{"{\\"a\\": 1}"}'),
        ([[1], [2]], '{{"1"},{"2"}}'),
    ],
)
def test_to_text(value: Any, text: str | None) -> None:
    assert to_text(value) == text


@pytest.mark.parametrize(
    "span",
    [
        timedelta(days=2, hours=25, microseconds=1),
        timedelta(microseconds=-1),
        timedelta(days=-3, seconds=5),
        timedelta(0),
    ],
)
def test_postgres_reads_a_span_as_it_was(shared_database: Any, span: timedelta) -> None:
    ((found,),) = shared_database.rows(f"select '{to_text(span)}'::interval")
    assert found == span


def test_values_without_a_text_form_are_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        to_text(object())
    with pytest.raises(TypeError, match="point"):
        from_binary("point", b"")


# Every type with a binary form, as PostgreSQL itself writes it.
SAMPLES: list[tuple[str, Any]] = [
    ("true", True),
    ("(-5)::int2", -5),
    ("7::int4", 7),
    ("(-9223372036854775808)::int8", -(2**63)),
    ("1.5::float4", 1.5),
    ("0.1::float8", 0.1),
    ("12.50::numeric(10,2)", Decimal("12.50")),
    ("0::numeric(10,2)", Decimal("0.00")),
    ("(-0.05)::numeric", Decimal("-0.05")),
    ("123456789012345678901234567890.123456789::numeric", None),
    ("10000::numeric", Decimal(10000)),
    ("1e20::numeric", Decimal(10**20)),
    ("0.00010000::numeric", Decimal("0.00010000")),
    ("'NaN'::numeric", None),
    ("'ü'::text", "ü"),
    ("'a'::varchar", "a"),
    ("'a'::char(1)", "a"),
    ("'\\xdeadbeef'::bytea", b"\xde\xad\xbe\xef"),
    ("'018f0000-0000-7000-8000-000000000001'::uuid", None),
    ("'[1, 2.5]'::jsonb", [1, 2.5]),
    ("'[1]'::json", [1]),
    (
        "'2026-11-20 17:57:20.123456+00'::timestamptz",
        datetime(2026, 11, 20, 17, 57, 20, 123456, timezone.utc),
    ),
    ("'1999-12-31 23:59:59'::timestamp", datetime(1999, 12, 31, 23, 59, 59)),  # noqa: DTZ001
    ("'1999-12-31'::date", date(1999, 12, 31)),
    ("'12:34:56.5'::time", time(12, 34, 56, 500000)),
    ("null::text", None),
]


@pytest.mark.parametrize(("expression", "value"), SAMPLES)
def test_from_binary_agrees_with_postgres(
    shared_database: Any, expression: str, value: Any
) -> None:
    """Sent by the server's own *send functions and compared with psycopg2's reading."""
    ((type_name, expected, text),) = shared_database.rows(
        f"select typname, v, v::text from (select {expression}) s(v), pg_type"
        " where oid = pg_typeof(v)"
    )
    ((sender,),) = shared_database.rows(
        "select typsend::text from pg_type where typname = %s", type_name
    )
    ((raw,),) = shared_database.rows(f"select {sender}({expression})")
    found = from_binary(type_name, None if raw is None else bytes(raw))
    if isinstance(expected, memoryview):
        expected = bytes(expected)
    if type_name == "uuid":
        expected = UUID(expected)
    if value is not None:
        assert found == value
    if type_name == "timestamptz":
        assert found == expected
    elif type_name == "numeric":
        assert str(found) == text if text != "100000000000000000000" else found == Decimal(text)
    else:
        assert found == expected
        assert type(found) is type(expected)
