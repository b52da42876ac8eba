"""Faults between task and database, of the database itself, and deaths of tasks in a transaction."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from chaos.scene import ANY_MOMENT, Kind, MissedError, Scene
from chaos.wire import Session

BROKE = r"WARNING.*connecting to the database again|cannot connect to|did not answer in time"
# Longer than any run waits for the answer to its last COMMIT.
HANG_SECONDS = 120.0
FULL_SECONDS = 20.0
# A run that begins meanwhile cannot even make its staging tables.
FULL = r"(WARNING|ERROR).*No space left on device"
RESUMES = r"INFO.*starting after offset"


def _cut(scene: Scene) -> None:
    scene.trap(lambda session: False)


def _stall(scene: Scene) -> None:
    def act(session: Session) -> bool:
        time.sleep(scene.entry.seconds)
        scene.over()
        return False

    scene.trap(act)


def _hang(scene: Scene) -> None:
    def act(session: Session) -> bool:
        session.hang(HANG_SECONDS)
        return False

    scene.trap(act, seconds=HANG_SECONDS)


def _kill_task_any_time(scene: Scene) -> None:
    task = scene.world.tasks.living()[0]
    scene.struck()
    task.signal(signal.SIGKILL)


def _kill_task_recovering(scene: Scene) -> None:
    scene.trap(lambda session: False)
    time.sleep(scene.entry.seconds)
    for task in scene.world.tasks.living():
        task.signal(signal.SIGKILL)
    scene.over()


def _kill_task(scene: Scene) -> None:
    def act(session: Session) -> bool:
        os.kill(session.client_pid(), signal.SIGKILL)
        return False

    scene.trap(act)


def _kill_backend(scene: Scene) -> None:
    def act(session: Session) -> bool:
        with suppress(ProcessLookupError):
            os.kill(session.backend_pid or 0, signal.SIGKILL)
        return True

    scene.trap(act)


def _end_server(scene: Scene, number: int) -> None:
    ending: list[psutil.Process] = []

    def act(session: Session) -> bool:
        ending.extend(scene.world.end_server(number))
        return True

    scene.trap(act)
    scene.world.start_server(ending)
    scene.over()


def _crash_server(scene: Scene) -> None:
    _end_server(scene, signal.SIGKILL)


def _restart_server(scene: Scene) -> None:
    # What `pg_ctl restart` sends: fast, or immediate, which ends in a recovery from the log.
    _end_server(scene, signal.SIGINT if scene.entry.variant % 2 else signal.SIGQUIT)


def _refuse(scene: Scene) -> None:
    scene.struck()
    ending = scene.world.end_server(signal.SIGINT)
    time.sleep(scene.entry.seconds)
    scene.world.start_server(ending)
    scene.over()


def _freeze(scene: Scene) -> None:
    processes = scene.world.server_processes()
    scene.struck()
    for process in processes:
        with suppress(psutil.Error):
            process.suspend()
    time.sleep(scene.entry.seconds)
    for process in processes:
        with suppress(psutil.Error):
            process.resume()
    scene.over()


def _read_only(scene: Scene) -> None:
    name = "default_transaction_read_only"
    scene.struck()
    scene.world.run_sql(f"alter system set {name} = on", "select pg_reload_conf()")
    time.sleep(scene.entry.seconds)
    scene.world.run_sql(
        f"set {name} = off", f"alter system reset {name}", "select pg_reload_conf()"
    )
    scene.over()


def _fill_disk(scene: Scene) -> None:
    scene.struck()
    with scene.world.full_disk() as fill:
        # The transaction that is under way has its room already, and gives it back at its end.
        until = time.monotonic() + FULL_SECONDS
        while not scene.await_line(FULL, 0.05):
            if time.monotonic() > until:
                raise MissedError("nobody noticed that the disk was full")
            fill()
        time.sleep(scene.entry.seconds)
    scene.over()


def _kind(name: str, play: Callable[[Scene], None], log: str, weight: int) -> Kind:
    return Kind(name, play, log, weight, moments=ANY_MOMENT)


KINDS = [
    Kind("connection cut", _cut, BROKE, 6, ANY_MOMENT, opening=len(ANY_MOMENT)),
    Kind("connection stalled, then cut", _stall, BROKE, 3, ANY_MOMENT, (1.0, 5.0)),
    Kind("connection silent for good", _hang, BROKE, 0, ANY_MOMENT, slow=True),
    _kind("task killed in a transaction", _kill_task, RESUMES, 6),
    Kind("task killed at any time", _kill_task_any_time, RESUMES, 3),
    Kind("task killed as it reconnects", _kill_task_recovering, RESUMES, 2, ANY_MOMENT, (0, 1)),
    _kind("backend killed", _kill_backend, BROKE, 4),
    _kind("PostgreSQL killed", _crash_server, BROKE, 3),
    _kind("PostgreSQL restarted", _restart_server, BROKE, 3),
    Kind("database refuses connections", _refuse, BROKE, 0, seconds=(30, 100), slow=True),
    Kind("database stands still", _freeze, r"INFO.*events committed", 1, seconds=(2, 6)),
    Kind("database read-only", _read_only, r"WARNING.*read-only transaction", 1, seconds=(1, 5)),
    Kind("disk full", _fill_disk, FULL, 1, seconds=(1, 5)),
]
