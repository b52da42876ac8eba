"""Whole DAG runs: the example DAGs with the real generator, PostgreSQL and Airflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from feed import Feed
from operator_stage import Generator, compare, connection, program
from schema_database import Database, restaurant_database

from sse_stream import SSEStreamOperator, StreamTrigger, _native

pytestmark = pytest.mark.timeout(600)

HERE = Path(__file__).resolve().parent


@pytest.fixture
def generator(tmp_path: Path) -> Iterator[Generator]:
    """A source with some thousand events of history and nothing new."""
    generator = Generator(tmp_path)
    history = ["--data-dir", str(tmp_path / "log")]
    command = [str(program()), "fill", *history, "--events=3000", "--start=2026-11-20T17:00:00Z"]
    subprocess.run(command, check=True, capture_output=True)
    generator.start(*history, "--rate=0.0001")
    yield generator
    generator.kill()


@pytest.fixture
def restaurant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    with restaurant_database() as dsn:
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_RESTAURANT", connection(dsn))
        database = Database(dsn)
        yield database
        database.close()


def _run(dag_id: str, url: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "run_dag.py"), dag_id],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SSE_EXAMPLE_URL": url,
            **environment,
        },
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT")[2])
    return result


def test_examples_land_what_one_plain_run_would(
    airflow_home: Path, generator: Generator, restaurant: Database
) -> None:
    url = f"{generator.url}/stream"
    run = _run("example_sse_deferrable", url)
    assert run["state"] == "success", run
    assert restaurant.run("select stream, shard, position from sse_stream.streams") == [
        ("restaurant", 0, 50)
    ]
    (event,) = run["events"]
    assert (event["first_offset"], event["last_offset"], event["events"]) == (1, 50, 50)
    assert (event["stream"], event["dead_letters"]) == ("restaurant", 0)

    # The same events again and all others, by three tasks with offsets of their own.
    run = _run("example_sse_sharded", url)
    assert run["state"] == "success", run
    assert set(run["tasks"]) == {"ingest[0]", "ingest[1]", "ingest[2]"}
    last = generator.health()["last_offset"]
    positions = restaurant.run(
        "select shard, position from sse_stream.streams where stream = 'restaurant/3'"
        " order by shard"
    )
    assert [shard for shard, _ in positions] == [0, 1, 2]
    assert max(position for _, position in positions) == last
    assert restaurant.one("select count(*) from raw_data.events_raw") == last

    # The plain run finds every row of every event there, with the same content.
    plain = SSEStreamOperator(
        task_id="plain",
        sse_url=url,
        max_events_per_run=None,
        idle_timeout_seconds=1,
        offset_variable=None,
    ).execute({})
    assert (plain["events_processed"], plain["duplicates"]) == (last - 50, last - 50)
    compared = compare(restaurant, generator)
    assert not compared.differences, compared.report()
    assert restaurant.one("select count(*) from sse_stream.gaps") == 0
    assert restaurant.one("select count(*) from sse_stream.dead_letters") == 0


def test_the_books_say_from_where_to_look(restaurant: Database, feed: Feed) -> None:
    restaurant.run(
        "insert into sse_stream.offsets (stream, position, highest, epoch, resume_token)"
        " values ('numbers', 2, 2, 'one', null), ('texts', 2, 2, 'one', 'tok-9'),"
        " ('moved', 2, 2, 'another', null)"
    )
    feed.send(count=3)

    def seen(stream: str, preset: str = "", events: int = 1) -> Any:
        trigger = StreamTrigger(
            sse_url=f"{feed.url}/stream",
            postgres_conn_id="postgres_restaurant",
            stream=stream,
            preset=f'[stream]\nname = "{stream}"\nepoch_header = "X-Epoch"\n{preset}',
            events=events,
        )
        return _native.look(trigger.config(), seconds=3 if events == 1 else 0.5)

    assert (seen("numbers")["seen"], seen("numbers")["last_event_id"]) == ("events", "3")
    assert seen("numbers", events=2) is None
    assert seen("never ran", events=3)["events"] == 3
    assert seen("moved")["seen"] == "epoch"
    feed.requests.clear()
    by_query = 'ids = "text"\nresume = { query = "after" }'
    assert seen("texts", by_query, events=9) is None
    assert feed.requests[0][0] == "/stream?after=tok-9"
