"""The operator and the DAGs with the real generator, a real PostgreSQL and the restaurant preset."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from operator_stage import TABLES, Generator, compare, counts, run, until
from schema_database import ROOT, Database

from sse_stream import event_processor


def test_the_originals_arguments_land_every_row(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    until(lambda: generator.health()["last_offset"] > 3000)
    result = run(generator, max_events_per_run=3000, timeout_seconds=30, batch_size=50)
    assert result["events_processed"] == 3000
    assert result["stop_reason"] == "event_limit"
    assert result["dead_letters"] == 0
    compared = compare(restaurant, generator)
    assert not compared.differences, compared.report()
    assert len(compared.events) == 4
    assert result["rows"]["raw_data.events_raw"] == 3000
    assert result["rows"]["analytics.payments"] == compared.rows["analytics.payments"]
    assert variables == {"restaurant_stream_offset": "3000"}
    assert restaurant.one("select analytics.get_latest_offset()") == 3000


def test_the_next_run_goes_on_where_the_last_one_ended(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    first = run(generator, max_events_per_run=700)
    second = run(generator, max_events_per_run=800, batch_size=7)
    assert (first["last_offset"], second["first_offset"]) == (700, 701)
    assert second["last_offset"] == 1500
    assert counts(restaurant)[0] == 1500
    assert second["duplicates"] == 0


def test_setting_the_variable_back_replays_once_and_changes_nothing(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    run(generator, max_events_per_run=1000)
    before = [restaurant.run(f"select * from {table} order by 1, 2") for table in TABLES]
    audited = restaurant.one("select count(*) from analytics.audit_log")
    variables["restaurant_stream_offset"] = "0"
    replay = run(generator, max_events_per_run=1000)
    assert (replay["first_offset"], replay["duplicates"]) == (1, 1000)
    assert variables["restaurant_stream_offset"] == "1000"
    after = [restaurant.run(f"select * from {table} order by 1, 2") for table in TABLES]
    assert after == before
    assert restaurant.one("select count(*) from analytics.audit_log") == audited
    assert run(generator, max_events_per_run=10)["first_offset"] == 1001


def test_a_generator_that_dies_and_forgets_begins_a_new_epoch(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    results: list[dict[str, Any]] = []
    epoch = generator.health()["epoch"]
    killer = threading.Thread(target=lambda: _kill_and_start(generator, restaurant))
    killer.start()
    results.append(run(generator, max_events_per_run=None, timeout_seconds=6))
    killer.join()
    assert results[0]["epoch"] == generator.health()["epoch"] != epoch
    per_epoch = restaurant.run(
        "select epoch, count(*), count(distinct event_offset), max(event_offset)"
        " from raw_data.events_raw group by epoch"
    )
    assert {row[0] for row in per_epoch} == {epoch, results[0]["epoch"]}
    assert all(count == distinct == last for _, count, distinct, last in per_epoch)


def _kill_and_start(generator: Generator, restaurant: Database) -> None:
    with closing(psycopg2.connect(restaurant.dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()

        def landed() -> bool:
            cursor.execute("select count(*) from raw_data.events_raw")
            return bool((cursor.fetchone() or (0,))[0] > 500)

        until(landed)
    generator.kill()
    generator.start("--events-per-second=2000")


def test_the_next_run_takes_over_within_a_second(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    script = _script(generator, timeout_seconds=3)
    first = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    until(lambda: restaurant.one("select count(*) from sse_stream.runs") == 1)
    second = run(generator, max_events_per_run=None, timeout_seconds=1)
    output, _ = first.communicate(timeout=20)
    result = json.loads(output.splitlines()[-1])
    assert second["first_offset"] == result["last_offset"] + 1
    gap = restaurant.one(
        "select extract(epoch from b.started_at - a.ended_at)::float"
        " from sse_stream.runs a join sse_stream.runs b on b.id = a.id + 1"
    )
    assert gap < 1
    assert counts(restaurant)[0] == second["last_offset"]


def _script(generator: Generator, **arguments: Any) -> str:
    """A process that runs the operator as Airflow's task runner does, SIGTERM included."""
    return f"""
import json, signal
from sse_stream import SSEStreamOperator
operator = SSEStreamOperator(task_id="ingest", sse_url="{generator.url}/stream",
    offset_variable=None, max_events_per_run=None, **{arguments!r})
class Terminated(BaseException): pass
def handle(*_):
    operator.on_kill()
    raise Terminated
signal.signal(signal.SIGTERM, handle)
try:
    print(json.dumps(operator.execute({{}})))
except Terminated:
    print("terminated")
"""


def _terminate(restaurant: Database, generator: Generator) -> tuple[float, str]:
    """Send SIGTERM to a running task; return how long it lived on and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", _script(generator, timeout_seconds=30)], stdout=subprocess.PIPE
    )
    try:
        until(lambda: counts(restaurant)[0] > 500)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
        return time.monotonic() - asked, output.decode().splitlines()[-1]
    finally:
        process.kill()
        process.wait()


def test_sigterm_leaves_a_committed_offset_within_a_second(
    generator: Generator, restaurant: Database
) -> None:
    lived, said = _terminate(restaurant, generator)
    assert said == "terminated"
    # Airflow alone takes a moment to leave its interpreter.
    assert lived < 5, "a second on a quiet machine"
    position = restaurant.one("select position from sse_stream.streams")
    highest = restaurant.one("select highest from sse_stream.streams")
    # One writer may have been ahead of the other.
    assert position <= counts(restaurant)[0] <= highest
    assert not compare(restaurant, generator).differences


def test_sigterm_while_the_database_stands_still(
    generator: Generator, restaurant: Database
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _script(generator, timeout_seconds=30)], stdout=subprocess.PIPE
    )
    blocker = psycopg2.connect(restaurant.dsn)
    try:
        until(lambda: counts(restaurant)[0] > 500)
        # Whoever inserts now waits: the commit under way cannot end.
        blocker.cursor().execute("lock table analytics.orders in exclusive mode")
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
        assert time.monotonic() - began < 2
        assert output.decode().splitlines()[-1] == "terminated"
    finally:
        blocker.close()
        process.kill()
        process.wait()
    # The server rolls the batches back once it notices that its client has gone.
    sessions = (
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and application_name = 'sse_stream'"
    )
    until(lambda: restaurant.one(sessions) == 0)
    assert not compare(restaurant, generator).differences


def test_a_processor_for_one_type_works_in_the_batchs_transaction(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    @event_processor("feedback_submitted")
    def praise(cursor: Any, event: dict[str, Any], payload: dict[str, Any]) -> None:
        if payload["rating"] < 3:
            raise ValueError("no praise")
        cursor.execute(
            "insert into analytics.feedback (feedback_id, order_id, rating, created_ts, comment)"
            " values (%s, %s, %s, %s, %s)",
            [payload["feedback_id"], payload["order_id"], payload["rating"], event["ts"], "100%"],
        )

    until(lambda: generator.health()["last_offset"] > 3000)
    result = run(generator, max_events_per_run=3000, event_processors=[praise])
    kept = restaurant.run("select count(*), min(rating), min(comment) from analytics.feedback")
    assert kept[0][0] > 0
    assert kept[0][1:] == (3, "100%")
    letters = restaurant.run(
        "select reason_code, event_type, count(*) from sse_stream.dead_letters group by 1, 2"
    )
    assert letters == [("processor_error", "feedback_submitted", result["dead_letters"])]
    assert counts(restaurant)[0] == 3000 - result["dead_letters"]


@pytest.fixture(scope="module")
def migrated_airflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Airflow with a metadata database of its own."""
    home = tmp_path_factory.mktemp("airflow")
    code, output = _airflow(home, {}, "db", "migrate")
    assert code == 0, output
    return home


@pytest.fixture
def airflow_home(migrated_airflow: Path) -> Path:
    """That Airflow, with the Variable of a new installation."""
    _airflow(migrated_airflow, {}, "variables", "set", "restaurant_stream_offset", "0")
    return migrated_airflow


def _airflow(home: Path, variables: dict[str, str], *arguments: str) -> tuple[int, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("AIRFLOW__")}
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env={
            **kept,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=110,
    )
    return done.returncode, done.stdout


def _test_dag(home: Path, generator: Generator, dag_id: str) -> tuple[int, str]:
    variables = {"RESTAURANT_API_URL": generator.url, "RESTAURANT_RUN_SECONDS": "2"}
    return _airflow(home, variables, "dags", "test", dag_id)


def test_the_dag_runs_green_and_a_broken_rule_turns_it_red(
    airflow_home: Path, generator: Generator, restaurant: Database
) -> None:
    code, output = _test_dag(airflow_home, generator, "restaurant_realtime_stream")
    assert code == 0, output
    assert "events committed" in output or "run ended (deadline)" in output
    compared = compare(restaurant, generator)
    assert not compared.differences, compared.report()
    assert restaurant.one("select count(*) from analytics.daily_sales") > 0
    _, shown = _airflow(airflow_home, {}, "variables", "get", "restaurant_stream_offset")
    assert shown.splitlines()[-1] == str(restaurant.one("select position from sse_stream.streams"))
    (history,) = restaurant.run(
        "select dag_id, task_id, run_id like 'manual_%', try_number, log_url like 'http%',"
        " ended_at > started_at, events > 0, rows > 0, bytes > 0, stop_reason, error"
        " from sse_stream.runs"
    )
    who = ("restaurant_realtime_stream", "realtime_stream_processor")
    assert history[:2] == who
    assert (*history[2:3], *history[4:9]) == (True,) * 6
    assert (history[3] >= 0, *history[9:]) == (True, "deadline", None)

    restaurant.run(
        "update analytics.payments set amount = amount + 5 where payment_id ="
        " (select payment_id from analytics.payments limit 1)"
    )
    landed = counts(restaurant)[0]
    code, output = _test_dag(airflow_home, generator, "restaurant_realtime_stream")
    assert code != 0, output
    assert "payment_total_mismatch" in output
    # The run is red, and yet ingestion went on.
    assert counts(restaurant)[0] > landed


def test_dead_letters_are_replayed_by_their_dag(
    airflow_home: Path, generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    until(lambda: generator.health()["last_offset"] > 500)
    restaurant.run("alter table analytics.order_items add constraint few check (qty < 2) not valid")
    dead = run(generator, max_events_per_run=500)["dead_letters"]
    restaurant.run("alter table analytics.order_items drop constraint few")
    chosen = json.dumps({"reasons": ["out_of_range"], "event_types": None, "fail_if_left": True})
    code, output = _airflow(
        airflow_home, {}, "dags", "test", "restaurant_dead_letters", "--conf", chosen
    )
    assert code == 0, output
    assert dead > 0
    assert f"{dead} letters: {dead} landed" in output
    rows = restaurant.run("select state, count(*) from sse_stream.dead_letters group by 1")
    assert rows == [("replayed", dead)]


def test_retention_runs(airflow_home: Path, generator: Generator, restaurant: Database) -> None:
    code, output = _test_dag(airflow_home, generator, "restaurant_retention")
    assert code == 0, output
    assert "raw_data.events_raw: 0 partitions removed" in output


def test_polling_loads_what_the_stream_would(
    airflow_home: Path, generator: Generator, restaurant: Database
) -> None:
    until(lambda: generator.health()["last_offset"] > 3000)
    code, output = _test_dag(airflow_home, generator, "restaurant_stream_ingest")
    assert code == 0, output
    assert counts(restaurant)[0] > 3000
    assert not compare(restaurant, generator).differences
