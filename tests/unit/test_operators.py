"""The operator with a stand-in for the engine: what it hands over, what it makes of the answer."""

from __future__ import annotations

import copy
import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.exceptions import AirflowFailException
from airflow.models import DAG
from airflow.models.connection import Connection

from sse_stream import (
    BadEventError,
    ConfigError,
    DatabaseError,
    OffsetConflictError,
    ProtocolError,
    SchemaError,
    SourceError,
    SourceRejectedError,
    SSEStreamOperator,
    _native,
    event_processor,
    operators,
)

REPORT = {
    "stream": "restaurant",
    "events_processed": 3,
    "execution_time_seconds": 1.5,
    "events_per_second": 2.0,
    "batches_processed": 1,
    "rows": {"raw_data.events_raw": 3},
    "duplicates": 0,
    "dead_letters": 0,
    "first_offset": 1,
    "last_offset": 3,
    "position": 3,
    "epoch": "e",
    "stop_reason": "event_limit",
}


class Engine:
    """Stands for `_native.run`: records the call, then does what the test says."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.arguments: dict[str, Any] = {}
        self.act: Callable[[], Any] = lambda: None

    def run(self, config: str, **arguments: Any) -> dict[str, Any]:
        self.config = json.loads(config)
        self.arguments = arguments
        self.act()
        return dict(REPORT)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(_native, "run", engine.run)
    return engine


@pytest.fixture(autouse=True)
def connection(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, extra in (("POSTGRES_RESTAURANT", '{"sslmode": "require"}'), ("OTHER", "{}")):
        conn = Connection(
            conn_type="postgres",
            host="db.example",
            port=5433,
            login="restaurant_user",
            password="s3cret",
            schema="restaurant_analytics",
            extra=extra,
        )
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", conn.as_json())


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    variables: dict[str, str] = {}
    monkeypatch.setattr(operators, "read_variable", variables.get)
    monkeypatch.setattr(operators, "write_variable", variables.__setitem__)
    return variables


def _operator(**arguments: Any) -> SSEStreamOperator:
    arguments.setdefault("sse_url", "http://source:8000/stream")
    return SSEStreamOperator(task_id="ingest", **arguments)


def test_the_originals_arguments_and_defaults(engine: Engine) -> None:
    operator = SSEStreamOperator(
        task_id="ingest",
        sse_url="http://source:8000/stream",
        postgres_conn_id="postgres_restaurant",
        max_events_per_run=5000,
        timeout_seconds=300,
        batch_size=50,
        event_processors={"loyalty": lambda cursor, event, payload: None},
    )
    assert set(operator.template_fields) == {
        "sse_url",
        "sse_conn_id",
        "postgres_conn_id",
        "max_events_per_run",
        "timeout_seconds",
        "backfill_url",
        "shard",
        "body",
        "until",
        "table",
    }
    plain = _operator()
    assert (plain.postgres_conn_id, plain.max_events_per_run, plain.timeout_seconds) == (
        "postgres_restaurant",
        1000,
        60,
    )
    assert plain.batch_size == 100
    assert plain.event_processors == {}


def test_a_run_gets_source_database_preset_and_limits(engine: Engine) -> None:
    result = _operator(max_events_per_run=5000, timeout_seconds=300, batch_size=50).execute({})
    assert result == REPORT
    config = engine.config
    assert config["source"]["url"] == "http://source:8000/stream"
    assert config["source"]["kind"] == "stream"
    assert config["database"] == {
        "host": "db.example",
        "port": "5433",
        "user": "restaurant_user",
        "password": "s3cret",
        "dbname": "restaurant_analytics",
        "sslmode": "require",
    }
    assert "analytics.orders" in config["preset"]
    assert config["stream"] == "restaurant"
    assert (config["max_events"], config["timeout_seconds"]) == (5000, 300)
    assert config["batch_events"] == 50
    assert (config["unknown_events"], config["on_bad_event"]) == ("dead_letter", "dead_letter")
    assert config["max_wait_seconds"] == 24 * 3600
    assert not {"max_dead_letters", "max_dead_letter_share"} & set(config)
    assert config["lease_timeout_seconds"] == 360


def test_a_raw_table_needs_no_preset(engine: Engine) -> None:
    _operator(table="raw.feed", auto_create=True).execute({})
    assert engine.config["raw_table"] == {"table": "raw.feed", "create": True}
    assert engine.config["stream"] == "raw.feed"
    assert "[[route]]" not in engine.config["preset"]
    _operator(table="raw.feed", preset="restaurant").execute({})
    assert engine.config["stream"] == "restaurant"
    assert "analytics.orders" in engine.config["preset"]
    _operator().execute({})
    assert engine.config["raw_table"] is None


def test_bad_events_follow_the_policy(engine: Engine) -> None:
    _operator(on_bad_event="fail", max_dead_letters=0, max_wait_hours=0.5).execute({})
    assert engine.config["on_bad_event"] == "fail"
    assert engine.config["max_dead_letters"] == 0
    assert engine.config["max_wait_seconds"] == 1800
    _operator(max_dead_letters=0.05).execute({})
    assert engine.config["max_dead_letter_share"] == 0.05


def test_gaps_are_fetched_where_a_twin_is_named(engine: Engine) -> None:
    _operator().execute({})
    assert (engine.config["backfill_url"], engine.config["gap_policy"]) == (None, "warn")
    _operator(backfill_url="http://source:8000/events", gap_policy="fail").execute({})
    assert engine.config["backfill_url"] == "http://source:8000/events"
    assert engine.config["gap_policy"] == "fail"
    with pytest.raises(AirflowFailException, match="backfill_url is not an http"):
        _operator(backfill_url="source/events").execute({})


def test_the_result_holds_the_originals_four_and_more(engine: Engine) -> None:
    result = _operator().execute({})
    assert {
        "events_processed",
        "execution_time_seconds",
        "events_per_second",
        "batches_processed",
    } <= set(result)
    assert {"rows", "duplicates", "dead_letters", "first_offset", "last_offset"} <= set(result)
    assert {"epoch", "stop_reason"} <= set(result)
    json.dumps(result)


def test_templated_numbers_may_be_text(engine: Engine) -> None:
    dag = DAG("d", start_date=datetime(2025, 1, 1, tzinfo=timezone.utc), schedule=None)
    operator = _operator(
        dag=dag,
        sse_url="http://{{ host }}/stream",
        postgres_conn_id="{{ conn_id }}",
        max_events_per_run="{{ limit }}",
        timeout_seconds="{{ seconds }}",
    )
    operator.render_template_fields(
        {"host": "h:1", "conn_id": "other", "limit": 7, "seconds": 2.5}  # type: ignore[typeddict-unknown-key]
    )
    operator.execute({})
    assert engine.config["source"]["url"] == "http://h:1/stream"
    assert engine.config["max_events"] == 7
    assert engine.config["timeout_seconds"] == 2.5


def test_none_is_no_limit_also_as_rendered_text(engine: Engine) -> None:
    _operator(max_events_per_run="None", timeout_seconds=None).execute({})
    assert engine.config["max_events"] is None
    assert engine.config["timeout_seconds"] is None


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("max_events_per_run", 0),
        ("max_events_per_run", "many"),
        ("max_events_per_run", True),
        ("max_events_per_run", "1.5"),
        ("max_events_per_run", "5.0"),
        ("max_events_per_run", 1.5),
        ("max_events_per_run", float("inf")),
        ("timeout_seconds", -1),
        ("timeout_seconds", "nan"),
        ("timeout_seconds", ""),
        ("batch_size", 0),
        ("batch_size", "100"),
        ("linger_ms", -5),
        ("linger_ms", 10**20),
        ("max_batch_bytes", None),
        ("idle_timeout_seconds", 0),
        ("lease_timeout_seconds", "soon"),
        ("lease_timeout_seconds", True),
        ("lease_timeout_seconds", float("nan")),
        ("stream", ""),
        ("stream", "a\0b"),
        ("stream", 5),
        ("offset_variable", ""),
        ("headers", {"X": 5}),
        ("headers", {5: "X"}),
        ("headers", ["X: 5"]),
        ("unknown_events", "drop"),
        ("on_bad_event", "skip"),
        ("gap_policy", "ignore"),
        ("backfill_url", ""),
        ("backfill_url", 5),
        ("max_dead_letters", -1),
        ("max_dead_letters", 1.0),
        ("max_dead_letters", True),
        ("max_dead_letters", False),
        ("max_dead_letters", "few"),
        ("max_wait_hours", 0),
        ("source_kind", "websocket"),
        ("event_processors", {"a": "no function"}),
        ("event_processors", [lambda cursor, event, payload: None]),
    ],
)
def test_a_wrong_argument_is_said_when_the_dag_is_parsed(argument: str, value: Any) -> None:
    name = "event processor|'a'" if argument == "event_processors" else argument
    with pytest.raises(ConfigError, match=name):
        _operator(**{argument: value})


@pytest.mark.parametrize("value", [5, "5", 5.0])
def test_a_whole_number_of_events_in_any_form(engine: Engine, value: Any) -> None:
    _operator(max_events_per_run=value).execute({})
    assert json.dumps(engine.config["max_events"]) == "5"


def test_a_template_that_renders_to_nonsense_fails_without_retry(engine: Engine) -> None:
    operator = _operator(max_events_per_run="{{ x }}")
    operator.max_events_per_run = "lots"
    with pytest.raises(AirflowFailException, match="max_events_per_run"):
        operator.execute({})


@pytest.mark.parametrize(
    "error", [SourceRejectedError, ProtocolError, SchemaError, ConfigError, BadEventError]
)
def test_what_a_retry_cannot_mend_fails_at_once(engine: Engine, error: type[Exception]) -> None:
    def fail() -> None:
        raise error("table x is missing; run migrate")

    engine.act = fail
    with pytest.raises(AirflowFailException, match="table x is missing") as caught:
        _operator().execute({})
    assert isinstance(caught.value.__cause__, error)


@pytest.mark.parametrize("error", [SourceError, DatabaseError, OffsetConflictError])
def test_what_may_pass_is_left_to_airflows_retries(engine: Engine, error: type[Exception]) -> None:
    def fail() -> None:
        raise error("for now")

    engine.act = fail
    with pytest.raises(error):
        _operator().execute({})


def test_on_kill_sets_the_flag_of_the_running_engine(engine: Engine) -> None:
    operator = _operator()
    operator.on_kill()  # before a run: nothing to stop, nothing breaks
    running, stopped = threading.Event(), threading.Event()

    def wait() -> None:
        running.set()
        while not stopped.wait(0.01):
            if engine.arguments["stop"].is_set():
                stopped.set()

    def kill() -> None:
        assert running.wait(5)
        operator.on_kill()

    engine.act = wait
    killer = threading.Thread(target=kill)
    killer.start()
    operator.execute({})
    killer.join()
    operator.on_kill()


def test_the_variable_mirrors_the_offset(engine: Engine, variables: dict[str, str]) -> None:
    variables["restaurant_stream_offset"] = "41"
    seen = []

    def mirror() -> None:
        host = engine.arguments["host"]
        seen.append(host.read_mirror())
        host.write_mirror(57)

    engine.act = mirror
    _operator().execute({})
    assert engine.arguments["mirror"] is True
    assert seen == ["41"]
    assert variables == {"restaurant_stream_offset": "57"}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"stream": "kitchen"}, "kitchen_stream_offset"),
        ({"stream": "kitchen_stream"}, "kitchen_stream_offset"),
        ({"offset_variable": "mine"}, "mine"),
    ],
)
def test_the_variables_name(
    engine: Engine, variables: dict[str, str], arguments: dict[str, str], name: str
) -> None:
    engine.act = lambda: engine.arguments["host"].write_mirror(1)
    _operator(**arguments).execute({})
    assert variables == {name: "1"}


def test_no_variable_if_none_is_wanted(engine: Engine, variables: dict[str, str]) -> None:
    engine.act = lambda: engine.arguments["host"].write_mirror(1)
    _operator(offset_variable=None).execute({})
    assert engine.arguments["mirror"] is False
    assert variables == {}


def test_processors_as_list_reach_the_function(engine: Engine) -> None:
    calls = []

    @event_processor("loyalty")
    def loyalty(cursor: Any, event: dict[str, Any], payload: Any) -> None:
        calls.append((event["event_type"], payload["points"]))

    class Port:
        def query(self, sql: str, params: Any = None) -> Any:
            raise AssertionError("not asked for")

    engine.act = lambda: engine.arguments["host"].process(
        "loyalty", '{"event_type": "loyalty", "payload": {"points": 3}}', Port()
    )
    _operator(event_processors=[loyalty]).execute({})
    assert engine.arguments["processors"] == ["loyalty"]
    assert calls == [("loyalty", 3)]


def test_the_engines_lines_reach_the_task_log(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("airflow.task")
    propagate, logger.propagate = logger.propagate, True
    engine.act = lambda: engine.arguments["log"](20, "ingest", "17 events landed")
    try:
        with caplog.at_level(logging.INFO, "airflow.task"):
            _operator().execute({})
    finally:
        logger.propagate = propagate
    assert "17 events landed" in caplog.text


def test_no_secret_is_logged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        _operator(
            sse_url="http://u:s3cret@source/stream?token=s3cret",
            headers={"Authorization": "Bearer s3cret"},
        ).execute({})
    assert "s3cret" not in caplog.text
    assert engine.config["source"]["headers"] == {"Authorization": "Bearer s3cret"}


def test_the_run_is_named_after_its_task_instance(engine: Engine) -> None:
    class Instance:
        dag_id, task_id, run_id = "d", "ingest", "manual__1"
        map_index, try_number = 4, 2
        log_url = "http://airflow/log"

    _operator().execute({"ti": Instance()})
    run = engine.config["run"]
    assert (run["dag_id"], run["task_id"], run["run_id"]) == ("d", "ingest", "manual__1")
    assert (run["map_index"], run["try_number"]) == (4, 2)
    assert run["log_url"] == "http://airflow/log"
    assert ":" in run["owner"]


def test_an_operator_can_be_copied_as_airflow_does(engine: Engine) -> None:
    assert copy.deepcopy(_operator()).execute({}) == REPORT


def test_polling_reads_pages(engine: Engine) -> None:
    _operator(sse_url="http://source/events", source_kind="poll").execute({})
    assert engine.config["source"]["kind"] == "poll"


@pytest.fixture(autouse=True)
def no_engine_is_forgotten() -> Iterator[None]:
    yield
    assert threading.active_count() == 1
