"""Child processes in sessions of their own, stopped with everything that they started.

Airflow forks tasks into process groups of their own, so that neither a signal to the child nor
one to its group reaches them; but all of them stay in the child's session.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

GRACE_SECONDS = 20.0


class ProcessError(Exception):
    """A program did not start or ended when it should not have."""


@dataclass
class Child:
    """One running program, its name for people, its session and its log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def session(self) -> int:
        """The session that this child leads."""
        return self.process.pid

    def check(self) -> None:
        """Raise ProcessError, with the end of the log, if the program has ended."""
        code = self.process.poll()
        if code is not None:
            raise ProcessError(f"{self.name} ended with code {code}\n{tail(self.log)}")


class Children:
    """The programs of one stack, written down in `ledger` so that a later start finds leftovers."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._children: list[Child] = []

    def start(
        self,
        name: str,
        command: list[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        cwd: Path,
    ) -> Child:
        """Start `command` with its output appended to `log`."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        self._write_ledger()
        return child

    def check(self) -> None:
        """Raise ProcessError if any program has ended."""
        for child in self._children:
            child.check()

    def stop(self, child: Child, *, also: str | None = None) -> None:
        """End `child` and its session: ask, wait, then kill.

        `also` asks those members of the session at once whose command line contains it; the
        others are asked by the child itself, which knows the order.
        """
        started = members(child.session)
        with suppress(ProcessLookupError):
            child.process.terminate()
        if also is not None:
            _ask(process for process in started if also in " ".join(_command_line(process)))
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(GRACE_SECONDS)
        _end([*started, *members(child.session)])
        child.process.wait()
        self._children.remove(child)
        self._write_ledger()

    def kill(self) -> None:
        """Kill all that is left, without asking."""
        for child in self._children:
            _kill(members(child.session))
            child.process.wait()
        self._children.clear()
        self._write_ledger()

    def sweep(self) -> int:
        """End what an earlier start that was killed left behind; return how many sessions."""
        with suppress(FileNotFoundError, json.JSONDecodeError):
            left = [members(session) for session in json.loads(self._ledger.read_text())]
            ours = [found for found in left if any(self._is_ours(each) for each in found)]
            for found in ours:
                _end(found)
            self._ledger.unlink(missing_ok=True)
            return len(ours)
        return 0

    def _is_ours(self, process: psutil.Process) -> bool:
        """Tell a leftover from a stranger whose session got the same number since.

        Every program starts in the state folder, and what it forks stays there.
        """
        with suppress(psutil.Error):
            return Path(process.cwd()).is_relative_to(self._ledger.parent)
        return False

    def _write_ledger(self) -> None:
        self._ledger.write_text(json.dumps([child.session for child in self._children]))


def members(session: int) -> list[psutil.Process]:
    """Return the living processes of `session` and those they started in sessions of their own."""
    found: dict[int, psutil.Process] = {}
    for pid in psutil.pids():
        with suppress(OSError, psutil.Error):
            if os.getsid(pid) == session:
                process = psutil.Process(pid)
                found[pid] = process
                found.update((each.pid, each) for each in process.children(recursive=True))
    return [process for process in found.values() if _is_alive(process)]


def tail(log: Path, lines: int = 20) -> str:
    """Return the end of a log file under a heading that names it."""
    text = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([f"the end of {log}:", *text[-lines:]])


def _end(processes: Iterable[psutil.Process]) -> None:
    """Ask these to end, and kill those that do not within seconds."""
    left = list(processes)
    _ask(left)
    _kill(_await_end(left, seconds=5))


def _await_end(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended; return those that have not. A zombie has ended."""
    deadline = time.monotonic() + seconds
    while (alive := [each for each in processes if _is_alive(each)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    return alive


def _ask(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    _await_end(processes, seconds=5)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _command_line(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []
