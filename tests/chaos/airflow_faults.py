"""Deaths under the real scheduler with the real DAG: of the scheduler, of a task, of both."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
from demo import airflow
from demo.processes import Child, Children, members

from chaos.scene import ANY_MOMENT, Entry, Kind, Scene
from chaos.wire import Session
from chaos.world import World

RUN_SECONDS = 40
RESUMES = r"starting after offset"
START_SECONDS = 150.0

# Airflow looks after its dead in minutes; here it may not take so long.
IMPATIENT = {
    "SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "15",
    "SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "3",
    "SCHEDULER__LOCAL_TASK_JOB_HEARTBEAT_SEC": "3",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
}


class Airflow:
    """A scheduler over the world's database and source, by way of the same proxies."""

    def __init__(self, world: World) -> None:
        self._settings = world.settings
        self._variables = {
            **airflow.environment(world.settings, world.databases),
            **{f"AIRFLOW__{name}": text for name, text in IMPATIENT.items()},
            "AIRFLOW_CONN_POSTGRES_RESTAURANT": world.connection(),
            "RESTAURANT_API_URL": world.web.url,
            "PYTHONPATH": str(world.engine),
            "RESTAURANT_RUN_SECONDS": str(RUN_SECONDS),
        }
        self._databases = world.databases
        self._children = Children(world.settings.state / "processes.json")
        self._sessions: list[int] = []
        self._scheduler: Child | None = None
        world.airflow_logs = world.settings.state / "airflow" / "logs"

    def prepare(self) -> None:
        """Make Airflow's database."""
        airflow.prepare(self._settings, self._databases)
        # Runs without the scheduler show no Variable: the 0 of a new Airflow would be a rewind.
        subprocess.run(
            airflow.command("variables", "delete", airflow.OFFSET_VARIABLE),
            env=self._variables,
            cwd=self._settings.state,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )

    def start(self) -> None:
        """Start the scheduler."""
        self._scheduler = self._children.start(
            "scheduler",
            airflow.command("scheduler"),
            environment=self._variables,
            log=self._settings.logs / "scheduler.log",
            cwd=self._settings.state,
        )
        self._sessions.append(self._scheduler.session)

    def kill_scheduler(self) -> None:
        """Kill the scheduler's own process; what it started lives on without it."""
        if self._scheduler is not None:
            self._scheduler.process.kill()
            self._scheduler.process.wait()

    def kill_all(self) -> None:
        """Kill the scheduler and everything that any of them started, as a dying machine would."""
        found = [process for session in self._sessions for process in members(session)]
        self.kill_scheduler()
        for process in found:
            with suppress(psutil.Error):
                process.kill()


def kinds(stage: Airflow) -> list[Kind]:
    """Return the kinds that play on this stage."""

    def kill_task(scene: Scene) -> None:
        def act(session: Session) -> bool:
            os.kill(session.client_pid(), signal.SIGKILL)
            return False

        scene.trap(act)

    def kill_scheduler(scene: Scene) -> None:
        scene.struck()
        stage.kill_scheduler()
        stage.start()

    def kill_both(scene: Scene) -> None:
        def act(session: Session) -> bool:
            stage.kill_all()
            return False

        scene.trap(act)
        stage.start()

    def kind(name: str, play: Callable[[Scene], None], log: str = RESUMES) -> Kind:
        moments = ANY_MOMENT if log == RESUMES else ()
        return Kind(name, play, log, moments=moments, patience=START_SECONDS)

    return [
        kind("task killed under Airflow", kill_task),
        # Its task reads on without it.
        kind("scheduler killed", kill_scheduler, r"events committed"),
        kind("scheduler and tasks killed", kill_both),
    ]


def sequence(seed: int, found: list[Kind]) -> Iterator[Entry]:
    """Yield each kind, again and again, with moments by the seed."""
    chance = random.Random(f"airflow {seed}")
    number = 0
    while True:
        for kind in found:
            number += 1
            moment = chance.choice(kind.moments) if kind.moments else None
            yield Entry(number, kind, moment, 0.0, chance.randrange(1000), chance.uniform(2, 6))
