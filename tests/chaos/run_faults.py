"""Two runs of one stream at once: a second that waits, and one that was given up and comes back."""

from __future__ import annotations

import signal
import threading
import time

from chaos.scene import Kind, MissedError, Scene
from chaos.wire import Moment, Session

HELD = "INFO.*is held by .*waiting to take over"
FENCED = "was taken over by another run"
ZOMBIE_SECONDS = 60.0


def _second(scene: Scene) -> None:
    """A second run waits while the first one reads, and takes over when that is killed."""
    tasks = scene.world.tasks
    first = tasks.living()[0]
    scene.struck()
    tasks.want(2)
    if not scene.await_line(HELD):
        scene.offences.append("the second run of the stream did not wait for the first")
    tasks.want(1)
    first.signal(signal.SIGKILL)
    scene.over()


def _zombie(scene: Scene) -> None:
    """A run is stopped, loses its session, is replaced, and wakes up when its successor is dead.

    Then nobody holds the stream, and only the fence keeps the zombie from committing.
    """
    tasks, wire = scene.world.tasks, scene.world.wire
    stopped, awake = threading.Event(), threading.Event()
    found: list[int] = []
    cut_at: list[float] = []

    def act(session: Session) -> bool:
        found.append(session.client_pid())
        run = tasks.find(found[0])
        if run is not None:
            run.signal(signal.SIGSTOP)
        # Only the server's side breaks, that of all its writers: what is stopped cannot notice.
        for other in wire.sessions_of(found[0]):
            other.cut_server()
        session.cut_server()
        # Until now its other writers may have committed.
        cut_at.append(time.monotonic())
        stopped.set()
        awake.wait(ZOMBIE_SECONDS)
        return False

    playing = threading.Thread(target=scene.trap, args=(act,), daemon=True)
    playing.start()
    if not stopped.wait(30):
        raise MissedError("no transaction to stop a run in")
    zombie = tasks.find(found[0])
    if zombie is None:
        awake.set()
        raise MissedError("the run ended just then")
    tasks.abandon(zombie)
    if wire.await_commit(cut_at[0], ZOMBIE_SECONDS) is None:
        scene.offences.append("the retry of a stopped run did not get the stream")
    awake.set()
    zombie.signal(signal.SIGCONT)
    # Its first writer waits for the lock; another may have found the fence raised before that.
    if not scene.await_line(f"run {zombie.number} ({HELD}|.*{FENCED})"):
        scene.offences.append("the zombie did not wait for the run that replaced it")
    tasks.want(0)
    for run in tasks.living():
        run.signal(signal.SIGKILL)
    if not zombie.over.wait(ZOMBIE_SECONDS):
        scene.offences.append("the zombie went on although it had lost the stream")
        zombie.signal(signal.SIGKILL)
    tasks.want(1)
    scene.over()
    playing.join(5)


KINDS = [
    Kind("two runs at once", _second, HELD, 1),
    Kind(
        "zombie and its retry",
        _zombie,
        FENCED,
        2,
        moments=(Moment.FIRST_COPY, Moment.LATER_COPY, Moment.BEFORE_COMMIT, Moment.AFTER_COMMIT),
    ),
]
