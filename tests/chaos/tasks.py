"""Keeps one task running, as Airflow would: the next run after each end, a retry after each death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

NURSERY = Path(__file__).with_name("nursery.py")
RETRY_SECONDS = 0.2


@dataclass
class Run:
    """One task process."""

    number: int
    pid: int = 0
    ended: int | None = None
    # Given up by the supervisor, as Airflow gives up a task whose heartbeat stopped.
    abandoned: bool = False
    started: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def signal(self, number: int) -> None:
        """Send a signal; a process that is gone is no error."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Supervisor:
    """Starts runs in the nursery and keeps as many alive as are wanted."""

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        operator: dict[str, Any],
        writers: Callable[[], int],
    ) -> None:
        self.log = folder / "tasks.log"
        self._operator = {**operator, "log": str(self.log)}
        self._writers = writers
        self._lock = threading.RLock()
        self._runs: dict[int, Run] = {}
        self._next = 1
        self._wanted = 0
        self.endings: Counter[str] = Counter()
        with (folder / "nursery.log").open("ab") as errors:
            self._nursery = subprocess.Popen(
                [sys.executable, str(NURSERY)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def want(self, count: int) -> None:
        """Have `count` runs alive from now on; those that are too many go on to their end."""
        with self._lock:
            self._wanted = count
            self._fill()

    def living(self) -> list[Run]:
        """Return the runs that are alive and not given up, the oldest first."""
        with self._lock:
            return [run for run in self._runs.values() if run.ended is None and not run.abandoned]

    def everyone(self) -> list[Run]:
        """Return all runs that are alive, given up or not."""
        with self._lock:
            return [run for run in self._runs.values() if run.ended is None]

    def abandon(self, run: Run) -> None:
        """Give a run up without killing it; its retry starts."""
        with self._lock:
            run.abandoned = True
            self._say(f"run {run.number} shows no sign of life and is given up")
            self._fill()

    def find(self, pid: int) -> Run | None:
        """Return the run with this process id."""
        return next((run for run in self.everyone() if run.pid == pid), None)

    def stop(self, seconds: float = 60) -> None:
        """Want no more runs, wait for their ends, and kill what is left."""
        self.want(0)
        deadline = time.monotonic() + seconds
        for run in self.everyone():
            run.signal(signal.SIGCONT)
            run.over.wait(max(deadline - time.monotonic(), 0))
            run.signal(signal.SIGKILL)
        self._nursery.kill()
        self._nursery.wait()

    def check(self) -> None:
        """Raise RuntimeError if the nursery ended."""
        if self._nursery.poll() is not None:
            raise RuntimeError(f"the nursery ended with code {self._nursery.returncode}")

    def _fill(self) -> None:
        while len(self.living()) < self._wanted:
            run = Run(self._next)
            self._runs[run.number] = run
            self._next += 1
            own = {"run": run.number, "writers": self._writers()}
            order = json.dumps({**self._operator, **own}) + "\n"
            assert self._nursery.stdin is not None
            self._nursery.stdin.write(order.encode())
            self._nursery.stdin.flush()

    def _listen(self) -> None:
        assert self._nursery.stdout is not None
        for line in self._nursery.stdout:
            told = json.loads(line)
            run = self._runs[told["run"]]
            if "pid" in told:
                run.pid = told["pid"]
                run.started.set()
            else:
                threading.Thread(target=self._ended, args=(run, told["ended"]), daemon=True).start()

    def _ended(self, run: Run, code: int) -> None:
        with self._lock:
            run.ended = code
            run.over.set()
            self.endings[_ending(code)] += 1
            self._say(f"run {run.number} {_ending(code)}")
        time.sleep(RETRY_SECONDS)
        with self._lock:
            del self._runs[run.number]
            self._fill()

    def _say(self, what: str) -> None:
        now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
        with self.log.open("a") as log:
            log.write(f"{now} supervisor: {what}\n")


def _ending(code: int) -> str:
    names = {0: "succeeded", 1: "failed and is tried again", 3: "failed for good; the next begins"}
    killed = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return names.get(code, killed)
