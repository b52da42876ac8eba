"""Routes made in Python: the same text as a preset.toml, checked by the engine."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from sse_stream import ConfigError, Route, SSEStreamOperator, Stream, _native
from sse_stream.presets import load_preset, raw_preset


def read(stream: Stream, sample: str = "") -> dict[str, Any]:
    """What the engine makes of a stream, without a database."""
    config = {
        "source": {"url": "http://127.0.0.1/"},
        "database": {"host": "-", "user": "-", "dbname": "-"},
        "preset": load_preset(stream).toml,
    }
    return _native.validate(json.dumps(config), sample.encode(), connect=False)


def route(**changes: Any) -> Route:
    return Route(**{"table": "x.t", "event": "a", "key": "id", "columns": {"id": "/id"}, **changes})


def test_a_stream_in_python_is_the_preset_that_the_engine_reads() -> None:
    columns = {
        "id": "$sse_id",
        "at": {"from": "/at", "as": "epoch_ms"},
        "first name": {"coalesce": ['/a"b', "/é", {"const": "none\x7f\n"}]},
        "both": {"join": ["/a", "$event"], "with": "\\"},
        "low": {"lower": "/x"},
        "fixed": {"const": {"n": 1, "f": 0.5, "deep": [True, "x"]}},
    }
    stream = Stream(
        name="mine",
        id="/id",
        event_type="/type",
        offsets="dense",
        filters=["q"],
        pages={"events": "/events", "id": "/id", "type": "/type"},
        routes=[route(columns=columns, parent=None, missing="null", known=["/z"])],
    )
    (found,) = read(stream)["routes"]
    assert (found["event"], found["table"]) == ("a", "x.t")
    assert {each["name"]: each["source"] for each in found["columns"]} == {
        "id": "$sse_id",
        "at": "/at",
        "first name": 'each of /a"b, /é, the constant "none\x7f\\n"',
        "both": "one of /a, $event",
        "low": "/x",
        "fixed": 'the constant {"deep":[true,"x"],"f":0.5,"n":1}',
    }
    assert [each["required"] for each in found["columns"]] == [True] + [False] * 5


def test_events_of_a_sample_are_judged_without_a_database() -> None:
    stream = Stream(name="mine", routes=[route(new_fields="dead_letter", known=["/ok"])])
    sample = (
        'id: 1\nevent: a\ndata: {"id": 7, "ok": 1}\n\n'
        'id: 2\nevent: a\ndata: {"id": 7, "more": 1}\n\n'
        "id: 3\nevent: a\ndata: {}\n\n"
        "id: 4\nevent: b\ndata: {}\n\n"
        "id: 5\nevent: a\ndata: torn"
    )
    outcomes = [
        (each["id"], each["outcome"], each["reason_code"], each["tables"])
        for each in read(stream, sample)["events"]
    ]
    assert outcomes == [
        ("1", "lands", None, ["x.t"]),
        ("2", "dead letter", "new_field", []),
        ("3", "dead letter", "missing_field", []),
        ("4", "dead letter", "unknown_type", []),
    ]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"table": "t"}, "schema.table"),
        ({"columns": {"id": "id"}}, "JSON pointer"),
        ({"columns": {"id": "$now"}}, "$sse_id"),
        ({"columns": {"id": {"form": "/id"}}}, "form"),
        ({"columns": {"id": {"from": "/id", "const": 1}}}, "one of from, const"),
        ({"columns": {"id": {"from": "/id", "with": "-"}}}, "join"),
        ({"columns": {"id": {"from": "/id", "as": "roman"}}}, "roman"),
        ({"columns": {"id": {"lower": {"join": ["/a"]}}}}, "lower takes"),
        ({"columns": {"id": {"coalesce": []}}}, "coalesce is empty"),
        ({"columns": {"id": {"join": [{"from": "/a", "as": "text"}]}}}, "beside join"),
        ({"known": ["x"]}, "JSON pointers"),
        ({"missing": "ignore"}, "ignore"),
    ],
)
def test_mistakes_are_told_by_the_engine(change: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(Stream(name="mine", routes=[route(**change)]))
    assert part in str(raised.value)


def test_mistakes_that_have_no_text_are_told_at_once() -> None:
    for wrong in (object(), b"x", float("nan"), "\ud800"):
        with pytest.raises(ConfigError):
            _ = Stream(name="mine", routes=[route(columns={"id": wrong})]).toml
    with pytest.raises(ConfigError):
        Stream(name="with space")
    with pytest.raises(ConfigError):
        route(mode="merge")
    with pytest.raises(ConfigError):
        route(columns=["id"])


def test_a_route_without_a_key_appends() -> None:
    assert (route().mode, route(key=()).mode, route(key=()).key) == ("insert", "append", ())


def test_an_operator_takes_a_stream_or_a_raw_table() -> None:
    stream = Stream(name="mine", routes=[route()])
    assert SSEStreamOperator(task_id="t", sse_url="http://x/s", preset=stream).preset is stream
    raw = SSEStreamOperator(task_id="t", sse_url="http://x/s", table="raw.feed", auto_create=True)
    assert (raw.preset, raw._raw_table()) == (None, {"table": "raw.feed", "create": True})
    assert SSEStreamOperator(task_id="t", sse_url="http://x/s").preset == "restaurant"
    assert raw_preset('raw.my "feed"').name == "raw.my__feed_"
    with pytest.raises(ConfigError):
        SSEStreamOperator(task_id="t", sse_url="http://x/s", table=7)  # type: ignore[arg-type]


def test_making_a_stream_loads_neither_airflow_nor_native_code() -> None:
    code = (
        "import sys; from sse_stream import Route, Stream; Stream(name='x').toml;"
        "sys.exit(any(m in sys.modules for m in ('airflow', 'sse_stream._native')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
