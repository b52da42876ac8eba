"""A compose project of the tests: its settings, its verbs as a person calls them, its faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from demo import ports
from stack import environment

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "sse-stream-test"
LONG_RUNNING = (
    *(
        "postgres",
        "restaurant-api",
        "metrics-api",
        "scheduler",
        "triggerer",
        "webserver",
        "pgadmin",
    ),
)


class Containers:
    """One project with ports, secrets and backups of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / ".env"
        taken: set[int] = set()
        while len(taken) < 5:
            taken.add(ports.free_port())
        names = ("POSTGRES", "PGADMIN", "AIRFLOW", "RESTAURANT_API", "METRICS_API")
        own = {f"{name}_EXTERNAL_PORT": str(port) for name, port in zip(names, taken, strict=True)}
        own["RESTAURANT_RUN_SECONDS"] = "30"
        own["RESTAURANT_API_OPTIONS"] = "--events-per-second=100 --feedback-delay=1s..5s"
        example = environment.read(environment.EXAMPLE)
        self.file.write_text("".join(f"{n}={v}\n" for n, v in {**example, **own}.items()))
        self.variables = {
            **{name: value for name, value in os.environ.items() if name not in example},
            "STACK": "compose",
            "COMPOSE_PROJECT_NAME": PROJECT,
            "STACK_ENV_FILE": str(self.file),
            "BACKUP_DIR": str(folder / "backups"),
            "BUNDLE_DIR": str(folder),
        }

    @property
    def settings(self) -> dict[str, str]:
        return environment.read(self.file)

    def verb(self, verb: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Call a verb as make does; return what it said and its exit code."""
        return subprocess.run(
            [sys.executable, "-m", "stack", verb],
            cwd=ROOT,
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1500,
            check=False,
        )

    def must(self, verb: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Call a verb that has to succeed."""
        done = self.verb(verb, **variables)
        assert done.returncode == 0, done.stdout
        return done

    def compose(self, *arguments: str, text: str | None = None) -> str:
        """Call docker compose on the project; fail with its words."""
        done = subprocess.run(
            ["docker", "compose", "--env-file", str(self.file), *arguments],
            cwd=ROOT,
            env=self.variables,
            input=text if text is not None else "",
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def sql(self, statement: str, database: str = "restaurant_analytics") -> str:
        """Run one statement as the superuser."""
        options = ("-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database)
        return self.compose("exec", "-T", "postgres", "psql", *options, text=statement)

    def offset(self) -> int:
        return int(self.sql("select coalesce(max(position), 0) from sse_stream.streams"))

    def rows(self) -> dict[str, int]:
        """Count what must never become less."""
        tables = (
            *("raw_data.events_raw", "analytics.orders", "analytics.order_items"),
            *("analytics.payments", "analytics.feedback"),
        )
        asked = " union all ".join(f"select '{t}', count(*) from {t}" for t in tables)
        pairs = (line.split("|") for line in self.sql(asked).splitlines())
        return {name: int(count) for name, count in pairs}

    def generated(self) -> int:
        """How far the generator is."""
        port = self.settings["RESTAURANT_API_EXTERNAL_PORT"]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=10) as response:
            return int(json.loads(response.read())["last_offset"])

    def await_growth(self, seconds: float = 240) -> None:
        """Wait until something more than there is now has landed."""
        before = self.offset()
        self.await_true(lambda: self.offset() > before, f"offset stands at {before}", seconds)

    def await_well(self, seconds: float = 240) -> None:
        """Wait until every service is healthy again."""
        self.await_true(lambda: self.verb("check").returncode == 0, "check fails", seconds)

    def await_true(self, is_so: Callable[[], bool], problem: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, f"{problem} after {seconds} s"
            time.sleep(1)

    def kill(self, service: str) -> None:
        """Kill the container's first process from outside, as a crash would."""
        container = self.compose("ps", "--quiet", service)
        shown = subprocess.run(
            ["docker", "inspect", "--format", "{{.State.Pid}}", container],
            capture_output=True,
            text=True,
            check=True,
        )
        os.kill(int(shown.stdout), signal.SIGKILL)
