"""Operator, sensor and hook as Airflow calls them: deferring, telling, testing a connection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from feed import Feed

from sse_stream import (
    ConfigError,
    SourceError,
    SSEHook,
    SSEStreamOperator,
    SSEStreamSensor,
    StreamTrigger,
    _airflow,
    _native,
    assets,
    links,
    stream_asset,
)
from sse_stream._airflow import AirflowFailException, AssetAlias
from sse_stream.shards import Shard

try:
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:
    from airflow.exceptions import TaskDeferred

REPORT = {
    "stream": "restaurant",
    "events_processed": 3,
    "execution_time_seconds": 1.5,
    "rows": {"raw_data.events_raw": 3, "analytics.orders": 1},
    "duplicates": 0,
    "dead_letters": 1,
    "gaps": 0,
    "reconnects": 2,
    "first_offset": 1,
    "last_offset": 3,
    "position": 3,
    "batches_processed": 1,
    "epoch": "e",
    "stop_reason": "event_limit",
}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands for the engine's run and look; holds what they were given."""
    called: dict[str, Any] = {"look": None}

    def run(config: str, **_: Any) -> dict[str, Any]:
        called["run"] = json.loads(config)
        return dict(REPORT)

    def look(config: str, *, seconds: float) -> Any:
        called["looked"] = json.loads(config)
        return called["look"]

    monkeypatch.setattr(_native, "run", run)
    monkeypatch.setattr(_native, "look", look)
    monkeypatch.setenv(
        "AIRFLOW_CONN_POSTGRES_RESTAURANT", "postgres://u:s3cret@db.example:5433/shop"
    )
    return called


def _operator(**arguments: Any) -> SSEStreamOperator:
    return SSEStreamOperator(task_id="ingest", sse_url="http://h/stream", **arguments)


def _deferred(task: Any, context: Any = None) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context or {})
    return deferred.value


def test_a_task_with_nothing_to_read_defers_without_secrets(engine: dict[str, Any]) -> None:
    deferred = _deferred(_operator(deferrable=True))
    assert isinstance(deferred.trigger, StreamTrigger)
    _, arguments = deferred.trigger.serialize()
    assert "s3cret" not in repr(arguments)
    assert arguments["stream"] == "restaurant"
    assert (deferred.method_name, deferred.timeout) == ("execute_complete", None)
    assert engine["looked"]["books"]["stream"] == "restaurant"
    assert "run" not in engine


def test_what_is_there_already_is_read_at_once(engine: dict[str, Any]) -> None:
    engine["look"] = {"seen": "events"}
    assert _operator(deferrable=True).execute({})["events_processed"] == 3


def test_a_woken_task_runs(engine: dict[str, Any]) -> None:
    report = _operator(deferrable=True).execute_complete({}, event={"seen": "events"})
    assert report["last_offset"] == 3
    assert engine["run"]["stream"] == "restaurant"


def test_an_error_of_the_trigger_fails_or_is_retried(engine: dict[str, Any]) -> None:
    task = _operator(deferrable=True)
    with pytest.raises(AirflowFailException, match="401"):
        task.execute_complete({}, event={"error": "SourceRejectedError", "message": "answers 401"})
    with pytest.raises(SourceError):
        task.execute_complete({}, event={"error": "SourceError", "message": "reset"})
    with pytest.raises(AirflowFailException):
        task.execute_complete({}, event=None)
    assert "run" not in engine


def test_a_setting_that_is_wrong_fails_without_a_retry(engine: dict[str, Any]) -> None:
    for task in (
        _operator(deferrable=True, shard="5/5"),
        SSEStreamSensor(task_id="s", sse_url="http://h/stream", wait_for_events=1, shard="5/5"),
    ):
        with pytest.raises(AirflowFailException, match="shard"):
            task.execute({})


def test_what_cannot_go_along_is_refused_or_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="sse_conn_id"):
        _operator(deferrable=True, headers={"X-Key": "s3cret"})
    with pytest.raises(ConfigError, match="poll"):
        _operator(deferrable=True, source_kind="poll")
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert _operator().deferrable
    assert not _operator(headers={"X-Key": "s3cret"}).deferrable
    assert not _operator(deferrable=False).deferrable
    assert SSEStreamSensor(task_id="s", sse_url="http://h/stream").deferrable


def test_not_deferrable_unless_asked() -> None:
    assert not _operator().deferrable
    assert not SSEStreamSensor(task_id="s", sse_url="http://h/stream").deferrable


def test_a_sensor_defers_until_health_and_looks_again(feed: Feed) -> None:
    sensor = SSEStreamSensor(task_id="s", sse_url=f"{feed.url}/stream", deferrable=True)
    sensor.execute({})  # healthy at once
    feed.status = 503
    deferred = _deferred(sensor)
    assert deferred.trigger.serialize()[1]["patient"] is True
    assert deferred.timeout.total_seconds() == pytest.approx(300, abs=5)
    # The stream spoke, its health is bad still: waited on, with a pause, in the time that is left.
    with pytest.raises(TaskDeferred) as again:
        sensor.execute_complete({}, event={"seen": "life"}, began=deferred.kwargs["began"] - 100)
    assert again.value.trigger.serialize()[1]["pause_seconds"] == 5
    assert again.value.timeout.total_seconds() == pytest.approx(200, abs=5)
    feed.status = 200
    assert sensor.execute_complete({}, event={"seen": "life"}, began=0) is None


def test_a_sensor_gives_up_in_its_time(feed: Feed) -> None:
    feed.status = 503
    sensor = SSEStreamSensor(task_id="s", sse_url=f"{feed.url}/stream", deferrable=True)
    with pytest.raises(_airflow.AirflowSensorTimeout):
        sensor.execute_complete({}, event={"seen": "life"}, began=0)


def test_a_sensor_for_data_asks_the_books(engine: dict[str, Any]) -> None:
    sensor = SSEStreamSensor(
        task_id="s", sse_url="http://h/stream", wait_for_events="9", shard="1/4", deferrable=True
    )
    arguments = _deferred(sensor).trigger.serialize()[1]
    assert (arguments["events"], arguments["stream"], arguments["shard"]) == (9, "restaurant/4", 1)
    assert arguments["sse_url"] == "http://h/stream?shard=1/4"
    assert sensor.poke({}) is False
    engine["look"] = {"seen": "events"}
    assert sensor.poke({}) is True
    assert sensor.execute_complete({}, event={"seen": "events"}, began=0) is None


def test_a_shard_has_address_offset_and_variable_of_its_own(engine: dict[str, Any]) -> None:
    operator = _operator(shard="2/3")
    operator.execute({})
    assert engine["run"]["source"]["url"] == "http://h/stream?shard=2/3"
    assert (engine["run"]["stream"], engine["run"]["shard"]) == ("restaurant/3", 2)
    assert operator._variable("restaurant/3") == "restaurant_stream_offset_2_of_3"
    assert _operator(shard="0/3", offset_variable="v")._variable("x") == "v_0_of_3"
    assert _operator(offset_variable=None, shard="0/3")._variable("x") is None
    assert Shard.parse("0/2").url("http://h/s?types=a") == "http://h/s?types=a&shard=0/2"


@pytest.mark.parametrize("text", ["1", "2/2", "-1/2", "a/b", "0/0", "0/9999"])
def test_what_is_no_shard_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="shard"):
        Shard.parse(text)


class _Event:
    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}
        self.added: list[Any] = []

    def add(self, asset: Any, extra: Any = None) -> None:
        self.added.append((asset.uri, extra))


class _Events(dict[Any, _Event]):
    def __missing__(self, key: Any) -> _Event:
        self[key] = _Event()
        return self[key]


def test_outlets_are_told_what_landed(engine: dict[str, Any]) -> None:
    asset, events = stream_asset("restaurant"), _Events()
    _operator(outlets=[asset]).execute({"outlet_events": events})
    assert events[asset].extra == {
        "stream": "restaurant",
        "shard": 0,
        "epoch": "e",
        "first_offset": 1,
        "last_offset": 3,
        "events": 3,
        "rows": {"raw_data.events_raw": 3, "analytics.orders": 1},
        "dead_letters": 1,
        "stop_reason": "event_limit",
    }


def test_an_alias_is_told_only_of_events() -> None:
    alias, events = AssetAlias("news"), _Events()
    assets.announce({**REPORT, "events_processed": 0}, {"outlet_events": events}, [alias], shard=0)
    assert events == {}
    assets.announce(REPORT, {"outlet_events": events}, [alias], shard=0)
    ((uri, extra),) = events[alias].added
    assert uri.startswith("sse-stream://restaurant")
    assert extra["last_offset"] == 3


def test_the_state_store_is_told_and_its_failure_is_no_failure(
    engine: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    asset, told = stream_asset("restaurant"), {}

    class Store:
        def set(self, key: str, value: Any) -> None:
            told[key] = value

    class Broken:
        def set(self, key: str, value: Any) -> None:
            raise RuntimeError("s3cret")

    _operator(outlets=[asset]).execute({"asset_state_store": {asset: Store()}})
    assert told["sse_stream.restaurant.0"]["last_offset"] == 3
    _operator(outlets=[asset]).execute({"asset_state_store": {asset: Broken()}})
    assert "RuntimeError" in caplog.text
    assert "s3cret" not in caplog.text


def test_metrics_tell_committed_numbers(
    engine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Any] = {}

    class Stats:
        @staticmethod
        def incr(name: str, count: int, *, tags: Any) -> None:
            sent[name] = (count, tags)

        @staticmethod
        def timing(name: str, value: float, *, tags: Any) -> None:
            sent[name] = (value, tags)

    monkeypatch.setattr(assets, "Stats", Stats)
    _operator().execute({})
    tags = {"stream": "restaurant"}
    assert sent == {
        "sse_stream.events": (3, tags),
        "sse_stream.rows": (4, tags),
        "sse_stream.dead_letters": (1, tags),
        "sse_stream.duplicates": (0, tags),
        "sse_stream.gaps": (0, tags),
        "sse_stream.reconnects": (2, tags),
        "sse_stream.run": (1500.0, tags),
    }


def test_airflows_own_stats_take_them(engine: dict[str, Any]) -> None:
    _operator().execute({})  # no StatsD: nothing is sent, and every call fits


def test_links_lead_where_the_configuration_says(
    engine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: dict[str, str] = {}

    class Instance:
        def xcom_push(self, key: str, value: str) -> None:
            pushed[key] = value

    context = {"ti": Instance()}
    operator = _operator(shard="1/2")
    operator.execute(context)
    assert operator.stream_links == {}
    monkeypatch.setenv("AIRFLOW__SSE_STREAM__STATUS_URL", "https://g/d?s={stream}&p={shard}")
    operator.execute(context)
    assert operator.stream_links == {"status_url": "https://g/d?s=restaurant%2F2&p=1"}
    if _airflow.AIRFLOW_3:
        assert links.StreamStatusLink().get_link(operator, ti_key=None).startswith("https://g/d")
        assert links.DeadLettersLink().get_link(operator, ti_key=None) == ""
    else:
        assert pushed == {"sse_stream_status_url": "https://g/d?s=restaurant%2F2&p=1"}


def test_lineage_names_stream_tables_and_rows(engine: dict[str, Any]) -> None:
    operator = _operator()
    assert operator.get_openlineage_facets_on_complete(None) is None
    operator.execute({})
    if not _airflow.AIRFLOW_3:
        return  # the library is installed beside Airflow 3 only
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert [(each.namespace, each.name) for each in lineage.inputs] == [("http://h", "/stream")]
    outputs = {each.name: each for each in lineage.outputs}
    assert set(outputs) == {"shop.raw_data.events_raw", "shop.analytics.orders"}
    orders = outputs["shop.analytics.orders"]
    assert orders.namespace == "postgres://db.example:5433"
    assert orders.outputFacets["outputStatistics"].rowCount == 1
    facet = lineage.run_facets["sseStream"]
    assert (facet.first_offset, facet.last_offset, facet.dead_letters) == (1, 3, 1)
    assert "s3cret" not in repr(lineage)


def test_the_hook_tests_a_connection_by_listening(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_stream.hook._LISTEN_SECONDS", 0.5)
    feed.send(count=60)
    connection = {
        "conn_type": "sse",
        "host": feed.url,
        "password": "s3cret",
        "extra": {"stream_path": "/stream", "ca_file": "", "headers": {"Last-Event-ID": "0"}},
    }
    monkeypatch.setenv("AIRFLOW_CONN_SSE_DEFAULT", json.dumps(connection))
    worked, line = SSEHook().test_connection()
    assert worked
    assert "ids: growing integers; retry: 50 ms" in line
    assert "1 types and 1 comment in" in line
    assert SSEHook().get_conn()["headers"]["Authorization"] == "Bearer s3cret"
    feed.status = 401
    worked, line = SSEHook().test_connection()
    assert not worked
    assert "answers 401" in line
    assert "s3cret" not in line
