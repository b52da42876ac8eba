"""The real `python -m demo up` as a user starts and stops it, on a state of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
from demo.database import BUSINESS
from demo.processes import tail
from demo.settings import Settings
from demo.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
UP_SECONDS = 180
DOWN_SECONDS = 60


class Demo:
    """A running demo: how to start and stop it, and its parts to look at."""

    def __init__(self, state: Path, database_url: str | None = None) -> None:
        free = Settings.for_smoke(state)
        self.environment = {
            **os.environ,
            "DATABASE_URL": database_url or "",
            "DEMO_STATE": str(state),
            "DEMO_PG_PORT": str(free.pg_port),
            "DEMO_API_PORT": str(free.api_port),
            "DEMO_WEB_PORT": str(free.web_port),
            "DEMO_METRICS_PORT": str(free.metrics_port),
            "DEMO_EVENTS_PER_SECOND": "50",
            "DEMO_FEEDBACK_DELAY": "1s..5s",
            "RESTAURANT_RUN_SECONDS": "30",
        }
        self.settings = Settings.for_demo(self.environment)
        self.stack = Stack(self.settings)
        self.output = state.with_name(f"{state.name}.output")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def up(self) -> None:
        """Start the program and wait until it shows its first live line."""
        before = self.text()
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "demo", "up"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        await_true(lambda: "generated" in self.text()[len(before) :], UP_SECONDS, self._trouble)

    def down(self, number: int = signal.SIGINT) -> int:
        """Send a signal as the terminal would; return the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(DOWN_SECONDS)
        self._process = None
        return code

    def text(self) -> str:
        """Everything that the program printed so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def position(self) -> int:
        """The committed offset, 0 before the first."""
        with closing(psycopg2.connect(self.stack.databases.admin(BUSINESS))) as connection:
            cursor = connection.cursor()
            cursor.execute("select coalesce(max(position), 0) from sse_stream.streams")
            row = cursor.fetchone()
            return int(row[0]) if row else 0

    def remove(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.stack.remove()

    def _trouble(self) -> str | None:
        if self._process is not None and self._process.poll() is not None:
            return f"the demo ended with code {self._process.returncode}\n{tail(self.output, 60)}"
        return None


def await_true(
    is_true: Callable[[], bool], seconds: float, trouble: Callable[[], str | None] = lambda: None
) -> None:
    """Wait for a condition; fail at once when `trouble` says why it can no longer come."""
    deadline = time.monotonic() + seconds
    while not is_true():
        found = trouble()
        assert found is None, found
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.2)
