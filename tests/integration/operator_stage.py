"""What the tests of operator and DAGs stand on: the real generator, and the operator as a call."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
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
from demo import oracle, ports  # noqa: E402
from demo.http import get_json  # noqa: E402
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ  # noqa: E402
from schema_database import ROOT, Database  # noqa: E402

from sse_stream import SSEStreamOperator  # noqa: E402

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
                str(program()),
                "serve",
                f"--bind={ports.LOOPBACK}:{self.port}",
                "--feedback-delay=100ms..500ms",
                *options,
            ],
            stderr=(self.folder / "generator.log").open("ab"),
        )
        until(lambda: self.health() is not None)

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


def program() -> Path:
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


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def connection(dsn: str) -> str:
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


def run(generator: Generator, **arguments: Any) -> dict[str, Any]:
    """Run the operator; with no more than the original's arguments unless a test adds some."""
    operator = SSEStreamOperator(task_id="ingest", sse_url=f"{generator.url}/stream", **arguments)
    result: dict[str, Any] = operator.execute({})
    return result


def compare(database: Database, generator: Generator) -> oracle.Comparison:
    with closing(psycopg2.connect(database.dsn)) as connection:
        connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ)
        psycopg2.extras.register_default_jsonb(connection, loads=lambda text: text)
        return oracle.compare(connection, generator.url)


def counts(database: Database) -> list[int]:
    return [database.one(f"select count(*) from {table}") for table in TABLES]
