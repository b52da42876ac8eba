"""A whole run: the stage goes up, the schedule is played, the rows are compared."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from chaos import airflow_faults, database_faults, run_faults, source_faults
from chaos.airflow_faults import Airflow
from chaos.scene import Entry, Kind, MissedError, Scene, opening, schedule
from chaos.table import Result
from chaos.verdict import Verdict, judge, prove
from chaos.watch import MIB, Watch
from chaos.wire import WRITERS
from chaos.world import World, say, until

KINDS = [*database_faults.KINDS, *source_faults.KINDS, *run_faults.KINDS]
WARM_UP_SECONDS = 60
STUCK_SECONDS = 90
QUIET_SECONDS = 3
# Of the time of a run, what is played under the real scheduler.
AIRFLOW_SHARE = 0.25
SHOWN = 40
# A third of all faults must strike where it hurts most.
INSIDE_SHARE = 1 / 3
# Among so many sessions that were struck some are of a run's first writer and some of another.
TELLING = 20
_PREFIX = re.compile(r"^.*?(?=INFO|WARNING|ERROR)")


class BrokenError(Exception):
    """The run cannot go on; the message says why."""


@dataclass
class Performance:
    """What was played, and what did not strike."""

    world: World
    watch: Watch
    scenes: list[Scene] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def play(self, entries: Iterator[Entry], goes_on: Callable[[int], bool]) -> None:
        """Play entries while `goes_on(number of entries played)`."""
        for played, entry in enumerate(entries):
            if not goes_on(played):
                return
            time.sleep(entry.pause)
            self.world.tasks.check()
            scene = Scene(self.world, self.watch, entry)
            try:
                scene.play()
            except MissedError as error:
                self.missed.append(f"{entry}: {error}")
                say(f"         {entry}: did not strike, {error}")
                continue
            self._tell(scene)
            if scene.recovered_at is None:
                raise BrokenError(f"nothing is committed any more after: {entry}")
            if scene.in_flight > 0:
                self.scenes.append(scene)
            else:
                self.missed.append(f"{entry}: nothing was in flight")

    def _tell(self, scene: Scene) -> None:
        took = scene.recovery_seconds
        after = "no commit" if took is None else f"next commit after {took:.1f} s"
        inside = ", inside COPY..COMMIT" if scene.inside else ""
        inside += f" of {scene.whose}" if scene.whose else ""
        now = self.watch.look
        say(
            f"{time.monotonic() - self.watch.began:5.0f} s {len(self.scenes) + 1:4}  "
            f"{scene.entry}: {scene.in_flight:,} in flight{inside}; {after}; "
            f"at {now.position:,}, {now.in_flight:,} behind"
        )
        for offence in scene.offences:
            say(f"         OFFENCE: {offence}")


def run(world: World, seed: int, seconds: float, kinds: list[Kind], *, airflow: bool) -> Result:
    """Play for about so long, compare and say everything."""
    world.up()
    left_out = [] if world.has_small_disk else ["disk full"]
    kinds = [kind for kind in kinds if kind.name not in left_out]
    world.start_tasks()
    stage = Airflow(world) if airflow else None
    watch = Watch(world)
    performance = Performance(world, watch)
    try:
        if stage:
            stage.prepare()
        watch.start()
        world.tasks.want(1)
        until(lambda: watch.look.position > 0, WARM_UP_SECONDS, "the first events land")
        until_seconds = seconds * (1 - AIRFLOW_SHARE) if stage else seconds
        performance.play(
            schedule(seed, kinds),
            lambda played: played < opening(kinds) or watch.elapsed() < until_seconds,
        )
        tallied = _end_tasks(world, watch) if stage else 0
        if stage:
            found = airflow_faults.kinds(stage)
            _play_airflow(performance, stage, seed, found, seconds)
            kinds = [*kinds, *found]
        head = _drain(world, watch)
    finally:
        if stage:
            stage.kill_all()
    watch.end()
    world.tasks.stop(seconds=0)
    began = time.monotonic()
    letters = [mark for scene in performance.scenes for mark in scene.letters]
    tallied = (tallied if stage else head) if world.has_tally else 0
    verdict = judge(world, head, tallied, letters)
    if verdict.is_clean:
        verdict.offences += prove(world, head, tallied)
    took = time.monotonic() - began
    say(f"compared {verdict.rows.total():,} rows with {head:,} events in {took:.0f} s")
    verdict.offences += world.secrets_told()
    for name in left_out:
        say(f"left out: {name}; a file system small enough to fill could not be mounted")
    return _conclude(performance, verdict, kinds)


def _end_tasks(world: World, watch: Watch) -> int:
    """End the tasks without the scheduler; return the offset they reached."""
    world.tasks.want(0)
    for task in world.tasks.everyone():
        task.signal(signal.SIGKILL)
        task.over.wait(10)
    # A COMMIT that was sent may still be carried out.
    time.sleep(1)
    return watch.look.position


def _play_airflow(
    performance: Performance, stage: Airflow, seed: int, found: list[Kind], seconds: float
) -> None:
    world, watch = performance.world, performance.watch
    began = time.monotonic()
    stage.start()
    say(f"{watch.elapsed():5.0f} s       the real scheduler takes over")
    if world.wire.await_commit(began, airflow_faults.START_SECONDS) is None:
        raise TimeoutError("no task of the scheduler committed anything")
    performance.play(
        airflow_faults.sequence(seed, found),
        lambda played: played < len(found) or watch.elapsed() < seconds,
    )


def _drain(world: World, watch: Watch) -> int:
    """Stop the source, let the tasks land what is left; return its last offset."""
    world.source.quiet()
    say(f"{watch.elapsed():5.0f} s       the source is quiet; draining")
    head = -1
    # Its last order, or feedback that was due, may still come after the restart.
    while head != (now := world.source.head()):
        head = now or 0
        _await_position(watch, head)
        time.sleep(QUIET_SECONDS)
    return head


def _await_position(watch: Watch, head: int) -> None:
    """Wait until all up to `head` has landed, for as long as that goes on."""
    seen, since = 0, time.monotonic()
    while (position := watch.look.position) < head:
        if position > seen:
            seen, since = position, time.monotonic()
        if time.monotonic() - since > STUCK_SECONDS:
            raise BrokenError(f"the offset stands still at {position}, the source at {head}")
        time.sleep(0.1)


def _conclude(performance: Performance, verdict: Verdict, kinds: list[Kind]) -> Result:
    """Say the result and everything that is wrong with it."""
    scenes, watch = performance.scenes, performance.watch
    result = Result.of([kind.name for kind in kinds], scenes, verdict)
    say(f"\n{result.markdown()}\n")
    for kind in kinds:
        line = next((s.said for s in scenes if s.entry.kind.name == kind.name and s.said), "")
        say(f"{kind.name}: {_PREFIX.sub('', line)}")
    say(f"\nrows: {dict(verdict.rows)}")
    say(f"tasks: {dict(performance.world.tasks.endings)}")
    say(
        f"memory of a task: at most {watch.largest_rss / MIB:.0f} MiB, "
        f"it grew by at most {watch.largest_growth / MIB:.0f} MiB"
    )
    for text in performance.missed:
        say(f"did not strike: {text}")
    offences = result.offences = [*verdict.offences, *watch.offences]
    offences += [offence for scene in scenes for offence in scene.offences]
    for name, rows in (("lost", verdict.lost), ("doubled", verdict.doubled)):
        if rows:
            offences.append(f"{len(rows)} rows {name}, for example {rows[:5]}")
    struck = {scene.entry.kind.name for scene in scenes}
    offences += [f"never struck: {kind.name}" for kind in kinds if kind.name not in struck]
    inside = sum(scene.inside for scene in scenes)
    if inside < INSIDE_SHARE * len(scenes):
        offences.append(f"only {inside} of {len(scenes)} faults struck between COPY and COMMIT")
    if max(performance.world.writers) > 1:
        whose = Counter(scene.whose for scene in scenes if scene.whose)
        say(f"sessions that were struck: {dict(whose)}")
        if whose.total() >= TELLING:
            offences += [f"no session of {name} was struck" for name in WRITERS if not whose[name]]
    for text in offences[:SHOWN]:
        say(f"OFFENCE: {text}")
    return result
