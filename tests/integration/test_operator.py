"""The operator and the DAGs with the real generator, a real PostgreSQL and the restaurant preset."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# Before Airflow is imported, which reads its configuration then.
_home = tempfile.TemporaryDirectory(prefix="sse-stream-airflow-")
for _name, _value in {
    "AIRFLOW_HOME": _home.name,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_home.name}/airflow.db",
}.items():
    os.environ.setdefault(_name, _value)

import psycopg2  # noqa: E402
import psycopg2.extras  # noqa: E402
import pytest  # noqa: E402
from demo import oracle, ports  # noqa: E402
from demo.http import get_json  # noqa: E402
from psycopg2 import sql  # noqa: E402
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ  # noqa: E402
from schema_database import (  # noqa: E402
    BOOTSTRAP,
    ROOT,
    Database,
    bootstrap_roles,
    databases_script,
    server_url,
    with_database,
)

from sse_stream import SSEStreamOperator, event_processor, operators  # noqa: E402
from sse_stream.__main__ import main  # noqa: E402

TABLES = (
    "raw_data.events_raw",
    "analytics.orders",
    "analytics.order_items",
    "analytics.payments",
    "analytics.feedback",
)


class Generator:
    """The real `restaurant-api`, which can be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.port = ports.free_port()
        self.url = f"http://{ports.LOOPBACK}:{self.port}"
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(
            [
                str(_program()),
                "serve",
                f"--bind={ports.LOOPBACK}:{self.port}",
                "--feedback-delay=100ms..500ms",
                *options,
            ],
            stderr=(self.folder / "generator.log").open("ab"),
        )
        _until(lambda: self.health() is not None)

    def health(self) -> Any:
        """Return the answer of /health, None if there is none."""
        try:
            return get_json(f"{self.url}/health")
        except OSError:
            return None

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def _program() -> Path:
    targets = [os.environ.get("CARGO_TARGET_DIR"), str(ROOT / "target")]
    programs = [
        Path(target) / profile / "restaurant-api"
        for target in targets
        if target
        for profile in ("release", "debug")
    ]
    found = [program for program in programs if program.exists()]
    assert found, "restaurant-api is not built: run make api"
    return found[0]


def _until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def generator(tmp_path: Path) -> Iterator[Generator]:
    """A generator with all four event types at a good pace, kept in memory."""
    generator = Generator(tmp_path)
    generator.start("--events-per-second=2000")
    yield generator
    generator.kill()


@pytest.fixture
def restaurant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A fresh database, migrated by the command line; the connection acts as restaurant_user."""
    server = Database(server_url())
    suffix = secrets.token_hex(4)
    names = {"restaurant_analytics": f"operator_{suffix}", "airflow_db": f"operator_af_{suffix}"}
    try:
        bootstrap_roles(server)
        for (statement,) in server.run(databases_script(names)):
            server.run(statement)
        dsn = with_database(server_url(), names["restaurant_analytics"])
        database = Database(dsn)
        database.run((BOOTSTRAP / "extensions.sql").read_text())
        monkeypatch.setenv("DATABASE_URL", f"{dsn}?options=-c%20role%3Drestaurant_owner")
        assert main(["migrate", "--preset", "restaurant"]) == 0
        monkeypatch.delenv("DATABASE_URL")
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_RESTAURANT", _connection(dsn))
        yield database
        database.close()
    finally:
        for name in names.values():
            statement = sql.SQL("drop database if exists {} with (force)")
            server.run(statement.format(sql.Identifier(name)))
        server.close()


def _connection(dsn: str) -> str:
    parts = urlsplit(dsn)
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": parts.hostname,
            "port": parts.port,
            "login": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "schema": parts.path.lstrip("/"),
            "extra": {"options": "-c role=restaurant_user"},
        }
    )


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's Variables, in memory."""
    variables: dict[str, str] = {}
    monkeypatch.setattr(operators, "read_variable", variables.get)
    monkeypatch.setattr(operators, "write_variable", variables.__setitem__)
    return variables


def _run(generator: Generator, **arguments: Any) -> dict[str, Any]:
    """Run the operator; with no more than the original's arguments unless a test adds some."""
    operator = SSEStreamOperator(task_id="ingest", sse_url=f"{generator.url}/stream", **arguments)
    result: dict[str, Any] = operator.execute({})
    return result


def _compare(database: Database, generator: Generator) -> oracle.Comparison:
    with closing(psycopg2.connect(database.dsn)) as connection:
        connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ)
        psycopg2.extras.register_default_jsonb(connection, loads=lambda text: text)
        return oracle.compare(connection, generator.url)


def _counts(database: Database) -> list[int]:
    return [database.one(f"select count(*) from {table}") for table in TABLES]


def test_the_originals_arguments_land_every_row(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    _until(lambda: generator.health()["last_offset"] > 3000)
    result = _run(generator, max_events_per_run=3000, timeout_seconds=30, batch_size=50)
    assert result["events_processed"] == 3000
    assert result["stop_reason"] == "event_limit"
    assert result["dead_letters"] == 0
    compared = _compare(restaurant, generator)
    assert not compared.differences, compared.report()
    assert len(compared.events) == 4
    assert result["rows"]["raw_data.events_raw"] == 3000
    assert result["rows"]["analytics.payments"] == compared.rows["analytics.payments"]
    assert variables == {"restaurant_stream_offset": "3000"}
    assert restaurant.one("select analytics.get_latest_offset()") == 3000


def test_the_next_run_goes_on_where_the_last_one_ended(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    first = _run(generator, max_events_per_run=700)
    second = _run(generator, max_events_per_run=800, batch_size=7)
    assert (first["last_offset"], second["first_offset"]) == (700, 701)
    assert second["last_offset"] == 1500
    assert _counts(restaurant)[0] == 1500
    assert second["duplicates"] == 0


def test_setting_the_variable_back_replays_once_and_changes_nothing(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    _run(generator, max_events_per_run=1000)
    before = [restaurant.run(f"select * from {table} order by 1, 2") for table in TABLES]
    audited = restaurant.one("select count(*) from analytics.audit_log")
    variables["restaurant_stream_offset"] = "0"
    replay = _run(generator, max_events_per_run=1000)
    assert (replay["first_offset"], replay["duplicates"]) == (1, 1000)
    assert variables["restaurant_stream_offset"] == "1000"
    after = [restaurant.run(f"select * from {table} order by 1, 2") for table in TABLES]
    assert after == before
    assert restaurant.one("select count(*) from analytics.audit_log") == audited
    assert _run(generator, max_events_per_run=10)["first_offset"] == 1001


def test_a_generator_that_dies_and_forgets_begins_a_new_epoch(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    results: list[dict[str, Any]] = []
    epoch = generator.health()["epoch"]
    killer = threading.Thread(target=lambda: _kill_and_start(generator, restaurant))
    killer.start()
    results.append(_run(generator, max_events_per_run=None, timeout_seconds=6))
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

        _until(landed)
    generator.kill()
    generator.start("--events-per-second=2000")


def test_the_next_run_takes_over_within_a_second(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    script = _script(generator, timeout_seconds=3)
    first = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    _until(lambda: restaurant.one("select count(*) from sse_stream.runs") == 1)
    second = _run(generator, max_events_per_run=None, timeout_seconds=1)
    output, _ = first.communicate(timeout=20)
    result = json.loads(output.splitlines()[-1])
    assert second["first_offset"] == result["last_offset"] + 1
    gap = restaurant.one(
        "select extract(epoch from b.started_at - a.ended_at)::float"
        " from sse_stream.runs a join sse_stream.runs b on b.id = a.id + 1"
    )
    assert gap < 1
    assert _counts(restaurant)[0] == second["last_offset"]


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
        _until(lambda: _counts(restaurant)[0] > 500)
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
    assert lived < 1.5
    position = restaurant.one("select position from sse_stream.offsets")
    assert _counts(restaurant)[0] == position
    assert not _compare(restaurant, generator).differences


def test_sigterm_while_the_database_stands_still(
    generator: Generator, restaurant: Database
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _script(generator, timeout_seconds=30)], stdout=subprocess.PIPE
    )
    blocker = psycopg2.connect(restaurant.dsn)
    try:
        _until(lambda: _counts(restaurant)[0] > 500)
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
    # The server rolls the batch back once it notices that its client has gone.
    _until(
        lambda: _counts(restaurant)[0] == restaurant.one("select position from sse_stream.offsets")
    )
    assert not _compare(restaurant, generator).differences


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

    _until(lambda: generator.health()["last_offset"] > 3000)
    result = _run(generator, max_events_per_run=3000, event_processors=[praise])
    kept = restaurant.run("select count(*), min(rating), min(comment) from analytics.feedback")
    assert kept[0][0] > 0
    assert kept[0][1:] == (3, "100%")
    letters = restaurant.run(
        "select reason_code, event_type, count(*) from sse_stream.dead_letters group by 1, 2"
    )
    assert letters == [("processor_error", "feedback_submitted", result["dead_letters"])]
    assert _counts(restaurant)[0] == 3000 - result["dead_letters"]


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
    compared = _compare(restaurant, generator)
    assert not compared.differences, compared.report()
    assert restaurant.one("select count(*) from analytics.daily_sales") > 0
    _, shown = _airflow(airflow_home, {}, "variables", "get", "restaurant_stream_offset")
    assert shown.splitlines()[-1] == str(restaurant.one("select position from sse_stream.offsets"))

    restaurant.run(
        "update analytics.payments set amount = amount + 5 where payment_id ="
        " (select payment_id from analytics.payments limit 1)"
    )
    landed = _counts(restaurant)[0]
    code, output = _test_dag(airflow_home, generator, "restaurant_realtime_stream")
    assert code != 0, output
    assert "payment_total_mismatch" in output
    # The run is red, and yet ingestion went on.
    assert _counts(restaurant)[0] > landed


def test_retention_runs(airflow_home: Path, generator: Generator, restaurant: Database) -> None:
    code, output = _test_dag(airflow_home, generator, "restaurant_retention")
    assert code == 0, output
    assert "raw_data.events_raw: 0 partitions removed" in output


def test_polling_loads_what_the_stream_would(
    airflow_home: Path, generator: Generator, restaurant: Database
) -> None:
    _until(lambda: generator.health()["last_offset"] > 3000)
    code, output = _test_dag(airflow_home, generator, "restaurant_stream_ingest")
    assert code == 0, output
    assert _counts(restaurant)[0] > 3000
    assert not _compare(restaurant, generator).differences
