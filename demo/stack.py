"""The whole path on this machine: started in order, watched, stopped in the other order."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2

from demo import airflow, database, ports
from demo.database import Databases, ServerTakenError
from demo.http import get_json
from demo.postgres import PostgresError, Server
from demo.processes import Child, Children, ProcessError
from demo.settings import ROOT, SUPERUSER, Settings

READY_SECONDS = 120


class StageError(Exception):
    """One stage of the stack failed; the message names the stage and the cause."""


class Stack:
    """Everything of `make demo`; one at a time for one state folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._children = Children(settings.state / "processes.json")
        self._server: Server | None = None
        if settings.database_url is None:
            home = settings.state / "postgres"
            self._server = Server(home, settings.pg_port, settings.secrets[SUPERUSER])
        admin_url = self._server.url if self._server else settings.database_url
        self.databases = Databases(admin_url or "", settings.secrets)
        self._programs: dict[str, Child] = {}

    @property
    def server_home(self) -> Path | None:
        """Where the embedded server keeps its data, None with the user's own server."""
        return self._server.home if self._server else None

    def up(self) -> None:
        """Start everything and return when it answers; raise StageError."""
        with _stage("clearing what an earlier start left", quiet=True):
            self._children.sweep()
            if self._server is not None:
                self._server.stop()
        self._require_free_ports()
        if self._server is not None:
            with _stage(f"PostgreSQL on port {self.settings.pg_port}"):
                self._server.start()
        with _stage("roles, databases and migrations"):
            database.prepare(self.settings, self.databases)
        with _stage(f"restaurant-api on port {self.settings.api_port}"):
            self.start_api()
        with _stage(f"metrics-api on port {self.settings.metrics_port}"):
            self._start_metrics()
        with _stage("Airflow's database"):
            airflow.prepare(self.settings, self.databases)
        with _stage(f"Airflow scheduler, triggerer, web server on port {self.settings.web_port}"):
            self._start_airflow()

    def start_database(self) -> None:
        """Start the embedded server alone, with nothing that writes; raise StageError."""
        with _stage("starting PostgreSQL alone", quiet=True):
            self._children.sweep()
            if self._server is not None:
                self._server.start()

    def down(self) -> None:
        """Stop everything that was started, readers before what they read from."""
        for name in ("scheduler", "triggerer", "webserver", "metrics-api", "restaurant-api"):
            child = self._programs.pop(name, None)
            if child is not None:
                self._children.stop(child, also=airflow.TASK_TITLE)
        if self._server is not None:
            self._server.stop()

    def kill(self) -> None:
        """End everything without asking; the data stays whole all the same."""
        self._children.kill()
        if self._server is not None:
            with suppress(PostgresError):
                self._server.stop()

    def check(self) -> None:
        """Raise StageError if a program has ended by itself."""
        with _stage("the running stack", quiet=True):
            self._children.check()

    def remove(self) -> None:
        """Stop what may be left over and delete the state."""
        self.forget_data()
        shutil.rmtree(self.settings.state, ignore_errors=True)

    def forget_data(self) -> None:
        """Delete the embedded server with all its data."""
        self._children.sweep()
        if self._server is not None:
            self._server.remove()

    def start_api(self) -> None:
        """Start the generator on its data and wait until it answers."""
        settings = self.settings
        command = [
            _built("restaurant-api"),
            "serve",
            f"--bind={ports.LOOPBACK}:{settings.api_port}",
            f"--data-dir={settings.state / 'restaurant-api'}",
            f"--feedback-delay={settings.feedback_delay}",
        ]
        if settings.events_per_second is not None:
            command.append(f"--events-per-second={settings.events_per_second}")
        self._start("restaurant-api", command, dict(os.environ))
        self._await(lambda: bool(get_json(f"{settings.api_url}/health")))

    def _start_metrics(self) -> None:
        settings = self.settings
        command = [
            _built("metrics-api"),
            f"--listen={ports.LOOPBACK}:{settings.metrics_port}",
            f"--source-url={settings.api_url}",
            f"--airflow-url={settings.web_url}",
        ]
        # The password only by the environment, which no other user sees.
        database_url = self.databases.url("analytics_reader")
        self._start("metrics-api", command, {**os.environ, "DATABASE_URL": database_url})
        self._await(lambda: bool(get_json(f"{settings.metrics_url}/kpis")))

    def _start_airflow(self) -> None:
        variables = airflow.environment(self.settings, self.databases)
        for program in airflow.PROGRAMS:
            self._start(program, airflow.command(program), variables)
        self._await(lambda: _is_healthy(get_json(f"{self.settings.web_url}/health")))

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        settings = self.settings
        log = settings.logs / f"{name}.log"
        self._programs[name] = self._children.start(
            name, command, environment=environment, log=log, cwd=settings.state
        )

    def _await(self, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self._children.check()
            with suppress(OSError, ValueError):
                if is_ready():
                    return
            time.sleep(0.25)
        raise ProcessError(f"no answer within {READY_SECONDS} s; see {self.settings.logs}")

    def _require_free_ports(self) -> None:
        settings = self.settings
        wanted = {
            "DEMO_API_PORT": settings.api_port,
            "DEMO_WEB_PORT": settings.web_port,
            "DEMO_METRICS_PORT": settings.metrics_port,
        }
        if self._server is not None:
            wanted["DEMO_PG_PORT"] = settings.pg_port
        for variable, port in wanted.items():
            if not ports.is_free(port):
                raise StageError(
                    f"port {port} is taken by {ports.holder(port)}: "
                    f"stop it, or choose another port with {variable}=..."
                )


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Hold the state folder; raise StageError while another start holds it."""
    settings.make_state()
    with (settings.state / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise StageError(
                f"process {lock.read().strip()} already runs on {settings.state}: stop it first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _stage(name: str, *, quiet: bool = False) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    except (ProcessError, PostgresError, ServerTakenError, psycopg2.Error, OSError) as error:
        raise StageError(f"failed at: {name}\n{error}") from error
    if not quiet:
        print(f"  {name}: ready after {time.monotonic() - started:.1f} s", flush=True)


def _built(name: str) -> str:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = target / "release" / name
    if not program.exists():
        raise ProcessError(f"the program {program} is not built yet: run make build")
    return str(program)


def _is_healthy(health: dict[str, Any]) -> bool:
    parts = ("metadatabase", "scheduler", "triggerer")
    return all(health[part]["status"] == "healthy" for part in parts)
