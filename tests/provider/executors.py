"""A real Airflow with several processes runs the example DAGs: `make test-executors`.

By hand, not in CI: it takes minutes. LocalExecutor needs nothing more, CeleryExecutor a
`redis-server` on PATH (Debian's package). The DAGs are the examples; what they landed is compared
with the source row by row, and with what one plain run finds.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent / "integration")]

_home = tempfile.TemporaryDirectory(prefix="sse-stream-executors-")
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

import psycopg2  # noqa: E402
from demo import ports  # noqa: E402
from operator_stage import Generator, compare, connection, program  # noqa: E402
from schema_database import Database, restaurant_database, server_url, with_database  # noqa: E402

from sse_stream import SSEStreamOperator  # noqa: E402
from sse_stream._airflow import AIRFLOW_3  # noqa: E402

PATIENCE = 600.0


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executor", choices=["LocalExecutor", "CeleryExecutor"], required=True)
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--shards", type=int, default=3)
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(_home.name)
        generator = Generator(folder)
        history = ["--data-dir", str(folder / "log")]
        fill = [str(program()), "fill", *history, f"--events={asked.events}"]
        start = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - 86_400))
        subprocess.run([*fill, f"--start={start}"], check=True, capture_output=True)
        generator.start(*history, "--rate=0.0001")
        stack.callback(generator.kill)
        dsn = stack.enter_context(restaurant_database())
        database = stack.enter_context(closing(Database(dsn)))
        metadata = stack.enter_context(_metadata())
        os.environ.update(_environment(asked, generator, dsn, metadata))
        _airflow("db", "migrate")
        stack.enter_context(_processes(asked.executor))
        meta = stack.enter_context(closing(Database(metadata)))
        _deferrable(meta, database)
        _sharded(meta, database, generator, asked.shards)
        if AIRFLOW_3:
            _watched(meta, database, generator, history)
    print(f"{asked.executor}: everything landed as it should")
    return 0


def _deferrable(meta: Database, database: Database) -> None:
    began = time.monotonic()
    _trigger(meta, "example_sse_deferrable")
    _finished(meta, "example_sse_deferrable")
    print(f"example_sse_deferrable: success after {time.monotonic() - began:.0f} s")
    table = "asset_event" if AIRFLOW_3 else "dataset_event"
    (extra,) = (row[0] for row in meta.run(f"select extra::text from {table}"))
    print(f"its event: {extra}")
    assert '"last_offset": 50' in extra
    assert database.run("select stream, position from sse_stream.streams") == [("restaurant", 50)]
    # The event wakes the DAG that waits for it.
    _finished(meta, "example_sse_on_data")
    print("example_sse_on_data: woken by the event, success")


def _sharded(meta: Database, database: Database, generator: Generator, shards: int) -> None:
    began = time.monotonic()
    _trigger(meta, "example_sse_sharded")
    _finished(meta, "example_sse_sharded")
    print(f"example_sse_sharded: success after {time.monotonic() - began:.0f} s")
    runs = database.run(
        "select shard, map_index, events, started_at, ended_at from sse_stream.runs"
        " where stream = %s order by shard",
        f"restaurant/{shards}",
    )
    for shard, task, events, began_at, ended_at in runs:
        print(f"  shard {shard}, task {task}: {events} events, {began_at:%T} to {ended_at:%T}")
    assert [run[:2] for run in runs] == [(shard, shard) for shard in range(shards)]
    assert max(run[3] for run in runs) < min(run[4] for run in runs), "not side by side"
    last = generator.health()["last_offset"]
    assert sum(run[2] for run in runs) == last
    plain = SSEStreamOperator(
        task_id="plain",
        sse_url=f"{generator.url}/stream",
        max_events_per_run=None,
        idle_timeout_seconds=2,
        offset_variable=None,
    ).execute({})
    assert plain["duplicates"] == plain["events_processed"] == last - 50, plain
    compared = compare(database, generator)
    assert not compared.differences, compared.report()
    print(f"a plain run finds all its {last - 50} events landed; {compared.report()}")


def _watched(meta: Database, database: Database, generator: Generator, history: list[str]) -> None:
    """The triggerer of Airflow 3 sees new events by itself and wakes the DAG that lands them."""
    _airflow("dags", "unpause", "example_sse_watcher")
    generator.kill()
    generator.start(*history, "--events-per-second=5")
    _finished(meta, "example_sse_watcher")
    position = database.one("select position from sse_stream.streams where stream = 'restaurant'")
    print(f"example_sse_watcher: woken by the stream, success; the offset is {position}")
    stored = meta.run("select key, value::text from asset_state_store order by key")
    print(f"asset state store: {stored}")


@contextmanager
def _metadata() -> Iterator[str]:
    server, name = Database(server_url()), f"af_{secrets.token_hex(4)}"
    server.run(f'create database "{name}"')
    try:
        yield with_database(server_url(), name)
    finally:
        server.run(f'drop database "{name}" with (force)')
        server.close()


def _environment(asked: Any, generator: Generator, dsn: str, metadata: str) -> dict[str, str]:
    api, broker, worker = (ports.free_port() for _ in range(3))
    os.environ["SSE_TEST_BROKER_PORT"] = str(broker)
    os.environ["SSE_TEST_API_PORT"] = str(api)
    settings = {
        "CORE__EXECUTOR": asked.executor,
        "CORE__PARALLELISM": "8",
        "CORE__DAGS_FOLDER": str(ROOT / "python/sse_stream/example_dags"),
        "CORE__FERNET_KEY": "",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{api}/execution/",
        "API__PORT": str(api),
        "API__WORKERS": "1",
        "API__SECRET_KEY": secrets.token_hex(16),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "CELERY__BROKER_URL": f"redis://127.0.0.1:{broker}/0",
        "CELERY__RESULT_BACKEND": f"redis://127.0.0.1:{broker}/1",
        "CELERY__WORKER_CONCURRENCY": "4",
        "DATABASE__SQL_ALCHEMY_CONN": metadata.replace("postgresql://", "postgresql+psycopg2://"),
        "DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "LOGGING__BASE_LOG_FOLDER": f"{_home.name}/logs",
        "LOGGING__WORKER_LOG_SERVER_PORT": str(worker),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports.free_port()),
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "WORKERS__EXECUTION_API_TIMEOUT": "60",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {
        **{f"AIRFLOW__{name}": text for name, text in settings.items()},
        "AIRFLOW_CONN_POSTGRES_RESTAURANT": connection(dsn),
        "SSE_EXAMPLE_URL": f"{generator.url}/stream",
        "SSE_EXAMPLE_SHARDS": str(asked.shards),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


@contextmanager
def _processes(executor: str) -> Iterator[None]:
    commands = [["scheduler"], ["triggerer"]]
    if AIRFLOW_3:
        commands += [["dag-processor"], ["api-server", "--port", os.environ["SSE_TEST_API_PORT"]]]
    if executor == "CeleryExecutor":
        commands.append(["celery", "worker", "--concurrency", "4"])
    running = []
    try:
        if executor == "CeleryExecutor":
            server = shutil.which("redis-server")
            assert server, "redis-server is missing: apt-get install redis-server"
            port = os.environ["SSE_TEST_BROKER_PORT"]
            running.append(_start([server, "--port", port, "--save", "", "--bind", "127.0.0.1"]))
        for command in commands:
            running.append(_start([sys.executable, "-m", "airflow", *command]))
        yield
    except BaseException:
        for log in sorted(Path(_home.name).glob("*.out")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
        raise
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    name = "-".join(Path(word).name for word in command if not word.startswith("-"))[-60:]
    with (Path(_home.name) / f"{name}.out").open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=_home.name)


def _airflow(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"airflow {' '.join(arguments)}: {done.stderr[-2000:]}")


def _trigger(meta: Database, dag_id: str) -> None:
    if AIRFLOW_3:
        _until(_api_answers, "the api-server")
    _until(
        lambda: meta.one("select count(*) from serialized_dag where dag_id = %s", dag_id),
        f"{dag_id} to be read",
    )
    if dag_id == "example_sse_deferrable":
        _airflow("dags", "unpause", "example_sse_on_data")
    _airflow("dags", "unpause", dag_id)
    _airflow("dags", "trigger", dag_id)


def _api_answers() -> bool:
    address = f"http://127.0.0.1:{os.environ['SSE_TEST_API_PORT']}/api/v2/monitor/health"
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


def _finished(meta: Database, dag_id: str) -> None:
    def over() -> bool:
        states = {row[0] for row in meta.run("select state from dag_run where dag_id = %s", dag_id)}
        assert "failed" not in states, f"{dag_id} failed"
        return "success" in states

    _until(over, f"{dag_id} to end")


def _until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except psycopg2.OperationalError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited too long for {what}")
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
