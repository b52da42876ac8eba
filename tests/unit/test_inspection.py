"""What is made of a sample: identity, types, columns and a starter preset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sse_stream import ConfigError, SourceError
from sse_stream.inspection.columns import Column, find_columns, sql_name
from sse_stream.inspection.identity import (
    Identity,
    event_type,
    find_control,
    find_identity,
    find_type_place,
    heartbeat_seconds,
    try_resume,
)
from sse_stream.inspection.sample import Event, Sample
from sse_stream.inspection.starter import make_starter, stream_name, write_starter


def columns(*documents: Any) -> dict[str, tuple[str, str | None, bool]]:
    found = find_columns([json.dumps(document) for document in documents])
    return {each.name: (each.sql_type, each.form, each.always) for each in found}


def events(*ids: str | None, data: str = "{}", kind: str = "message") -> list[Event]:
    return [Event(each, kind, data, float(place)) for place, each in enumerate(ids)]


def test_objects_become_columns_and_arrays_stay_whole() -> None:
    found = find_columns(
        [
            '{"user": {"displayName": "x", "address": {"zip": "1"}}, "tags": ["a"], "a/b": 1}',
            '{"user": {"displayName": "y", "address": null}, "tags": [], "a/b": 2}',
        ]
    )
    assert found == [
        Column("user_display_name", "/user/displayName", "text", None, True),
        Column("user_address_zip", "/user/address/zip", "text", None, False),
        Column("tags", "/tags", "jsonb", None, True),
        Column("a_b", "/a~1b", "bigint", None, True),
    ]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("x", [True, False], ("boolean", None)),
        ("x", [1, -(2**63)], ("bigint", None)),
        ("x", [1, 2**63], ("numeric", None)),
        ("x", [1, 1.5], ("numeric", None)),
        ("x", [1, True], ("jsonb", None)),
        ("x", [1, "a"], ("jsonb", None)),
        ("x", [None, None], ("jsonb", None)),
        ("x", [{}, "a"], ("jsonb", None)),
        ("x", [{"a": 1}, "a"], ("jsonb", None)),
        ("x", ["0193b3f0-0000-7000-8000-0000000000ff"], ("uuid", None)),
        ("x", ["0193b3f0-0000-7000-8000-0000000000ff", "y"], ("text", None)),
        ("x", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+01:00"], ("timestamptz", None)),
        ("x", ["2026-01-01T00:00:00Z", "2026-01-01"], ("text", None)),
        ("x", ["2026-01-01 00:00:00"], ("timestamp", None)),
        ("x", ["2026-01-31"], ("date", None)),
        ("x", ["2026-13-31"], ("text", None)),
        ("createdAt", [1767225600, 1767225601.5], ("timestamptz", "epoch_s")),
        ("createdAt", [1767225600123], ("timestamptz", "epoch_ms")),
        ("created", [17], ("bigint", None)),
        ("x", [1767225600], ("bigint", None)),
        ("client_ip", ["10.0.0.1"], ("inet", None)),
        ("version", ["10.0.0.1"], ("text", None)),
        ("client_ip", ["10.0.0.256"], ("text", None)),
        ("ip", ["10.0.0.1", "::1"], ("inet", None)),
        ("eta_ms", [1767225600123], ("timestamptz", "epoch_ms")),
        ("took_ms", [1767], ("bigint", None)),
        ("x", ["9.90", "-0.5", "12"], ("numeric", None)),
        ("x", ["9.90", "12", "n/a"], ("text", None)),
        ("x", ["9.90", "09.90"], ("text", None)),
        ("zip", ["1234", "5678"], ("text", None)),
        ("api_version", ["3.10", "3.9"], ("text", None)),
    ],
)
def test_types_are_those_that_hold_all_values(name: str, values: list[Any], expected: Any) -> None:
    (found,) = columns(*({name: value} for value in values)).values()
    assert found[:2] == expected


@pytest.mark.parametrize(
    ("usual", "odd", "expected"),
    [
        (5, "heavy", ("bigint", None, True)),
        (1.5, {"n": 5}, ("numeric", None, True)),
        ("2026-01-01T00:00:00Z", "yesterday", ("timestamptz", None, True)),
        ("9.90", "n/a", ("numeric", None, True)),
        ("a", 7, ("text", None, True)),
    ],
)
def test_one_value_in_twenty_may_be_a_mistake(usual: Any, odd: Any, expected: Any) -> None:
    many = [{"a": {"x": usual}} for _ in range(19)]
    found = find_columns([json.dumps(each) for each in [*many, {"a": {"x": odd}}]])
    (column,) = found
    assert (column.sql_type, column.form, column.always) == expected
    assert (column.pointer, column.misfits) == ("/a/x", 1)
    # Of fewer nobody can tell which one is the mistake; of more it is none.
    for documents in ([*many[:18], {"a": {"x": odd}}], [*many, *[{"a": {"x": odd}}] * 2]):
        (column,) = find_columns([json.dumps(each) for each in documents])
        assert (column.sql_type in ("jsonb", "text"), column.misfits) == (True, 0)


def test_an_object_that_is_a_text_once_is_still_an_object() -> None:
    assert columns(*[{"a": {"x": 1}}] * 19, {"a": "gone"}) == {"a_x": ("bigint", None, False)}
    assert columns(*[{"a": {"x": 1}}] * 18, {"a": "gone"}) == {"a": ("jsonb", None, True)}


def test_an_object_with_ever_other_members_is_one_column() -> None:
    assert columns(*({"by": {f"k{n}": 1}} for n in range(40))) == {"by": ("jsonb", None, True)}
    deep: Any = 1
    for _ in range(9):
        deep = {"a": deep}
    assert list(columns(deep)) == ["a_a_a_a_a_a"]


def test_data_that_is_no_object_is_one_column_unless_it_is_rare() -> None:
    assert columns(1, 2) == {"data": ("jsonb", None, True)}
    assert find_columns(["plain", "{}"])[0].sql_type == "text"
    assert find_columns([*['{"n": 1}'] * 9, "[DONE]"])[0].name == "n"
    some = [*events(*"123456789", data='{"n": 1}'), *events("10", data="[DONE]")]
    assert find_control(some) == ([], ["[DONE]"])
    assert find_control(events("1", "2", data="x")) == ([], [])
    # Data that broke off is a mistake, and no word.
    broken = [*events(*"123456789", data='{"n": 1}'), *events("10", data='{"n": 1')]
    assert find_control(broken) == ([], [])
    assert find_control([*events("1", kind="ping"), *events("2")]) == (["ping"], [])


def test_names_are_plain_and_unique() -> None:
    assert sql_name("/HTTPStatus Code") == "http_status_code"
    assert (sql_name("/1st"), sql_name("/é")) == ("_1st", "value")
    assert list(columns({"a b": 1, "a_b": 2, "a": {"b": 3}})) == ["a_b", "a_b_2", "a_b_3"]
    assert [c.name for c in find_columns(['{"sse_id": 1}'], ["sse_id"])] == ["sse_id_2"]


def test_ids_are_told_by_their_growth_and_place() -> None:
    assert find_identity(events("1", "2", "3", "4")) == Identity("integer", "sse", True, "4")
    assert not find_identity(events("1", "3", "4", "9")).dense
    assert find_identity(events("3", "1", "2")).kind == "text"
    assert find_identity(events("a", "b", None)).kind == "text"
    assert find_identity(events(None, None)).kind == "none"
    inside = [Event(None, "message", json.dumps({"id": f"k{n}"}), n) for n in range(3)]
    assert find_identity(inside) == Identity("text", "/id", False, "k2")
    assert find_identity([*inside, inside[0]]).kind == "none"
    deeper = [Event(None, "message", json.dumps({"meta": {"uuid": f"k{n}"}}), n) for n in range(3)]
    assert find_identity(deeper).place == "/meta/uuid"


def test_the_type_stands_in_the_field_or_in_a_member_with_few_values() -> None:
    kinds = [Event("1", "message", json.dumps({"kind": "ab"[n % 2], "id": n}), 0) for n in range(6)]
    assert find_type_place(kinds) == "/kind"
    assert find_type_place([*kinds, Event("7", "x", "{}", 0)]) == "sse"
    assert find_type_place([*kinds, Event("7", "message", "{}", 0)]) == "sse"
    every = [Event("1", "message", json.dumps({"type": str(n)}), 0) for n in range(9)]
    assert find_type_place(every) == "sse"
    inside = [
        Event("1", "message", json.dumps({"header": {"kind": "ab"[n % 2]}}), 0) for n in range(6)
    ]
    assert find_type_place(inside) == "/header/kind"
    assert event_type(inside[1], "/header/kind") == "b"


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        (["c", "d"], "replayable"),
        (["b", "c"], "replayable"),
        (["a", "b"], None),
        (["d"], "window"),
        (["x"], "none"),
        ([], None),
    ],
)
def test_resuming_is_tried_once(again: list[str], expected: str | None) -> None:
    asked: list[str] = []

    def ask(after: str) -> Sample:
        asked.append(after)
        return Sample(events=events(*again))

    sample = Sample(events=events("a", "b", "c", "d"))
    assert try_resume(sample, Identity("text"), ask)[0] == expected
    assert asked == ["b"]


@pytest.mark.parametrize(("status", "expected"), [(410, "window"), (400, None)])
def test_a_source_that_refuses_an_early_id_is_told_of(status: int, expected: str | None) -> None:
    def ask(after: str) -> Sample:
        raise SourceError(f"http://feed.test/stream answers {status}")

    sample = Sample(events=events("a", "b", "c"))
    resume, why = try_resume(sample, Identity("text"), ask)
    assert resume == expected
    assert f"answers {status}" in why


def test_signs_of_life_are_comments_and_pings() -> None:
    sample = Sample(comments_at=[1.0, 16.0, 31.0, 31.001, 46.2])
    assert heartbeat_seconds(sample) == 15.0
    assert heartbeat_seconds(Sample(comments_at=[1.0])) is None


def test_a_starter_is_written_once_and_quotes_what_it_must(tmp_path: Path) -> None:
    data = [
        Event(f"e{n}", kind, '{"user": "x"}', 0) for n in range(3) for kind in ("order", "Order")
    ]
    starter = make_starter("shop", data, Identity("text"), "sse", resume="replayable")
    assert [route.table for route in starter.stream.routes] == ["shop.order", "shop.order_2"]
    assert 'create table shop."order" (' in starter.sql
    assert '    "user" text,  -- /user, in all 3 events seen' in starter.sql
    assert starter.stream.time is None
    folder = tmp_path / "new" / "feed"
    write_starter(folder, starter, "about")
    assert 'ids = "text"' in (folder / "preset.toml").read_text()
    with pytest.raises(ConfigError, match="not empty"):
        write_starter(folder, starter, "about")


@pytest.mark.parametrize(
    ("kind", "resume", "said"),
    [
        ("integer", "replayable", None),
        ("integer", "none", "none"),
        ("text", "replayable", "replayable"),
        ("text", None, None),
    ],
)
def test_a_starter_says_what_was_seen_of_resuming(
    kind: str, resume: str | None, said: str | None
) -> None:
    data = events("1", "2", "3", data='{"n": 1}')
    starter = make_starter("shop", data, Identity(kind), "sse", resume=resume)
    assert starter.stream.resume_class == said


def test_the_time_of_events_is_where_all_of_them_have_one() -> None:
    texts = (
        '{"meta": {"at": "2026-01-01T00:00:00Z"}}',
        '{"meta": {"at": "2026-01-01T00:00:01Z"}, "n": 1}',
    )
    data = [
        Event(f"e{n}", kind, text, 0)
        for n, (kind, text) in enumerate(zip("ab", texts, strict=True))
    ]
    starter = make_starter("shop", data, Identity("text"), "sse", resume=None)
    assert starter.stream.time == "/meta/at"
    assert 'time = "/meta/at"' in starter.stream.toml
    one_without = [*data, Event("e9", "c", '{"n": 1}', 0)]
    assert (
        make_starter("shop", one_without, Identity("text"), "sse", resume=None).stream.time is None
    )


def test_a_stream_is_named_after_its_address() -> None:
    assert stream_name("https://stream.example.org/v2/stream/recentChange") == "recent_change"
    assert stream_name("https://api.example.org/events?x=1") == "example"
    assert stream_name("http://127.0.0.1:8000/stream") == "my_feed"
