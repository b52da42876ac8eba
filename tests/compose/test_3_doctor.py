"""Each fault that the doctor must name, put in and taken out again."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from containers import Containers

DAG = "restaurant_realtime_stream"


def findings(stack: Containers, **variables: str) -> set[str]:
    """The codes that the doctor names; its exit code says the same."""
    done = stack.verb("doctor", **variables)
    codes = {line.partition(":")[0] for line in done.stdout.splitlines()[1:] if _is_head(line)}
    assert done.returncode == (1 if codes else 0), done.stdout
    print(done.stdout)
    return codes


def _is_head(line: str) -> bool:
    code = line.partition(": ")[0]
    return (
        bool(code) and code == code.strip() and code.replace("_", "").islower() and code != "doctor"
    )


def test_an_engine_that_is_missing(stack: Containers, folder: Path) -> None:
    assert findings(stack, PATH=str(folder)) == {"engine_missing"}


def test_a_daemon_that_does_not_answer(stack: Containers) -> None:
    assert "engine_missing" in findings(stack, DOCKER_HOST="unix:///nowhere.sock")


def test_a_port_that_somebody_else_holds(stack: Containers) -> None:
    stack.compose("stop", "pgadmin")
    try:
        with socket.socket() as foreign:
            foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            foreign.bind(("127.0.0.1", int(stack.settings["PGADMIN_EXTERNAL_PORT"])))
            foreign.listen()
            assert {"port_busy", "service_unhealthy"} <= findings(stack)
            refused = stack.verb("up")
            assert refused.returncode == 1
            assert str(os.getpid()) in refused.stdout
    finally:
        stack.compose("start", "pgadmin")
    stack.await_well()


def test_a_service_that_is_ill(stack: Containers) -> None:
    stack.compose("pause", "triggerer")
    try:
        stack.await_true(
            lambda: "service triggerer" in stack.verb("check").stdout.replace("ok    service", ""),
            "the paused triggerer passes for healthy",
            240,
        )
        assert "service_unhealthy" in findings(stack)
    finally:
        stack.compose("unpause", "triggerer")
    stack.await_well()


def test_a_role_that_is_missing(stack: Containers) -> None:
    stack.sql("drop owned by analytics_reader")
    stack.sql("drop role analytics_reader", "postgres")
    assert "role_missing" in findings(stack)
    stack.must("up")
    # With its rights, and with the password of .env.
    assert int(stack.sql("set role analytics_reader; select count(*) from analytics.orders")) > 0
    stack.await_well()


def test_a_migration_that_is_behind(stack: Containers) -> None:
    with _taken(stack, "sse_stream.migrations", "owner = 'restaurant' and version = 10"):
        assert "migration_behind" in findings(stack)


def test_data_that_is_stale(stack: Containers) -> None:
    with _paused(stack):
        stack.sql(
            "set session_replication_role = replica;"
            "update raw_data.events_raw set ingested_at = ingested_at - interval '1 hour'"
        )
        assert "stale_data" in findings(stack)
        assert stack.verb("verify").returncode == 1
    stack.await_growth()


def test_offset_and_variable_that_are_apart(stack: Containers) -> None:
    with _paused(stack):
        shown = stack.sql("select mirrored from sse_stream.streams")
        _set_variable(stack, "7")
        assert "offset_variable_apart" in findings(stack)
        _set_variable(stack, shown)
        assert "offset_variable_apart" not in findings(stack)


def test_a_disk_that_is_almost_full(stack: Containers) -> None:
    assert "disk_low" in findings(stack, DOCTOR_MIN_FREE_GB="1000000")


def test_a_setting_that_is_not_applied(stack: Containers) -> None:
    assert "setting_not_applied" in findings(stack, POSTGRES_SHARED_BUFFERS="300MB")


def test_a_weak_secret(stack: Containers) -> None:
    assert "setting_refused" in findings(stack, AIRFLOW_DB_PASSWORD="changeme")
    refused = stack.verb("up", AIRFLOW_DB_PASSWORD="changeme")
    assert refused.returncode == 1
    assert "AIRFLOW_DB_PASSWORD" in refused.stdout
    assert "changeme" not in refused.stdout


def test_afterwards_nothing_disagrees(stack: Containers) -> None:
    stack.await_true(lambda: not findings(stack), "the doctor still finds something", 240)


@contextmanager
def _paused(stack: Containers) -> Iterator[None]:
    """Pause the DAG and let its tasks end; a paused run starts no further ones."""
    busy = "select count(*) from task_instance where state in ('running', 'queued')"
    stack.compose("exec", "-T", "webserver", "airflow", "dags", "pause", DAG)
    try:
        stack.await_true(
            lambda: stack.sql(busy, "airflow_db") == "0",
            "tasks go on",
            300,
        )
        yield
    finally:
        stack.compose("exec", "-T", "webserver", "airflow", "dags", "unpause", DAG)


@contextmanager
def _taken(stack: Containers, table: str, where: str) -> Iterator[None]:
    """Take rows away for a while."""
    stack.sql(f"create table public.kept as select * from {table} where {where}")
    assert stack.sql("select count(*) from public.kept") != "0"
    stack.sql(f"delete from {table} where {where}")
    try:
        yield
    finally:
        stack.sql(f"insert into {table} select * from public.kept; drop table public.kept")


def _set_variable(stack: Containers, value: str) -> None:
    options = ("exec", "-T", "webserver", "airflow", "variables", "set")
    stack.compose(*options, "restaurant_stream_offset", value)
