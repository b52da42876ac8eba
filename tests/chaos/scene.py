"""One fault as it is played: when it struck, when it was over, when the next commit came."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chaos.watch import Watch
from chaos.web import Order
from chaos.wire import Moment, Session, Trap
from chaos.world import World

TRAP_SECONDS = 30.0
FLIGHT_SECONDS = 2.0
ANY_MOMENT = tuple(Moment)


class MissedError(Exception):
    """The fault found nothing to strike."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault. `log` is what a task's log must say of it; `seconds` how long it may last.

    `slow` kinds come once in a run and seldom again.
    """

    name: str
    play: Callable[[Scene], None]
    log: str
    weight: int = 2
    moments: tuple[Moment, ...] = ()
    seconds: tuple[float, float] = (0.0, 0.0)
    slow: bool = False
    # How often it comes in the opening, before chance rules.
    opening: int = 1
    patience: float = 120.0


@dataclass(frozen=True)
class Entry:
    """One line of the schedule, made from the seed alone."""

    number: int
    kind: Kind
    moment: Moment | None
    seconds: float
    variant: int
    pause: float

    def __str__(self) -> str:
        at = f" at {self.moment.value}" if self.moment else ""
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind.name}{at}{lasting}"


def opening(kinds: list[Kind]) -> int:
    """Return how many entries of a schedule are its opening, in which each kind has its turn."""
    return sum(kind.opening for kind in kinds)


def schedule(seed: int, kinds: list[Kind]) -> Iterator[Entry]:
    """Yield entries without end: the opening in chance order, then by weight."""
    chance = random.Random(seed)
    every = [kind for kind in kinds for _ in range(kind.opening)]
    first = chance.sample(every, len(every))
    # Dealt like cards, so that no kind leaves a moment out for long.
    moments: dict[str, list[Moment]] = {}
    number = 0
    while True:
        number += 1
        kind = first.pop() if first else chance.choices(kinds, [k.weight for k in kinds])[0]
        left = moments.get(kind.name) or chance.sample(kind.moments, len(kind.moments))
        moment = left.pop() if left else None
        moments[kind.name] = left
        yield Entry(
            number=number,
            kind=kind,
            moment=moment,
            seconds=round(chance.uniform(*kind.seconds), 1),
            variant=chance.randrange(1000),
            pause=round(chance.uniform(0.2, 1.2), 1),
        )


@dataclass
class Scene:
    """The stage, one entry of the schedule, and what came of it."""

    world: World
    watch: Watch
    entry: Entry
    struck_at: float | None = None
    over_at: float = 0.0
    # From when on a commit counts as recovery; later than `over_at` where old bytes are on the way.
    fresh_at: float = 0.0
    inside: bool = False
    # Which writer's session a trap caught.
    whose: str = ""
    in_flight: int = 0
    position: int = 0
    reached: int = 0
    recovered_at: float | None = None
    letters: list[str] = field(default_factory=list)
    offences: list[str] = field(default_factory=list)
    said: str = ""
    _log_sizes: dict[Path, int] = field(default_factory=dict)

    def play(self) -> None:
        """Strike, and wait for the next commit. Faults of the stage itself are raised."""
        self.entry.kind.play(self)
        assert self.struck_at is not None
        after = max(self.struck_at, self.over_at, self.fresh_at)
        patience = self.entry.kind.patience
        self.recovered_at = self.world.wire.await_commit(after, patience)
        if self.recovered_at is None:
            self.offences.append(f"no commit within {patience:.0f} s after {self.entry}")
        else:
            self.recovered_at = self.watch.await_all(after, patience)
            if self.recovered_at is None:
                self.offences.append(
                    f"a writer stood still for {patience:.0f} s after {self.entry}"
                )
        self.reached = max(self.watch.look.head, self.position)
        self.said = self._find_line()

    def struck(self, *, inside: bool | None = None, in_hand: bool = False) -> None:
        """Note the moment; only the first call counts. `in_hand`: events that were not passed on."""
        if self.struck_at is not None:
            return
        # A quick engine often has landed everything: wait a little for events to be on their way.
        deadline = time.monotonic() + FLIGHT_SECONDS
        while True:
            self.inside = self.world.wire.inside() if inside is None else inside
            self.in_flight = max(self.watch.look.in_flight, int(self.inside or in_hand))
            if self.in_flight > 0 or time.monotonic() > deadline:
                break
            time.sleep(0.001)
        self.position = self.watch.look.position
        self._log_sizes = {log: log.stat().st_size for log in self.world.logs()}
        self.struck_at = time.monotonic()

    def over(self) -> None:
        """Note that nothing stands in the way any more."""
        self.over_at = time.monotonic()

    @property
    def recovery_seconds(self) -> float | None:
        """Time from the end of the fault to the next commit."""
        if self.recovered_at is None or self.struck_at is None:
            return None
        return self.recovered_at - max(self.struck_at, self.over_at)

    def trap(self, act: Callable[[Session], bool], *, seconds: float = 0.0) -> None:
        """Have `act` run at the entry's moment; raise MissedError where it never comes."""

        def strike(session: Session) -> bool:
            self.struck(inside=True)
            self.whose = session.whose
            return act(session)

        assert self.entry.moment is not None
        trap = Trap(self.entry.moment, strike, 2 + self.entry.variant % 3)
        self.world.wire.arm(trap)
        if not trap.sprung.wait(TRAP_SECONDS + self.entry.seconds + seconds):
            self.world.wire.disarm()
            if self.struck_at is None:
                raise MissedError(f"no transaction reached: {self.entry.moment.value}")

    def order(self, work: Callable[..., None], seconds: float = TRAP_SECONDS) -> None:
        """Have the running stream do `work`; raise MissedError where none speaks."""
        order = Order(work, lambda: self.struck(in_hand=True))
        self.world.web.give(order)
        if not order.begun.wait(seconds):
            self.world.web.withdraw()
            raise MissedError("no stream spoke")

    def await_fresh(self) -> None:
        """Wait for events on a stream that was opened after the fault had struck."""
        patience = self.entry.kind.patience
        fresh = self.world.web.await_fresh(self.struck_at or 0.0, patience)
        if fresh is None:
            self.offences.append(f"no new stream within {patience:.0f} s after {self.entry}")
        self.fresh_at = fresh or time.monotonic()

    def await_line(self, pattern: str, seconds: float = 15.0) -> bool:
        """Wait until the tasks' log says this; False if it does not."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.new_log()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def new_log(self) -> str:
        """Return what tasks wrote since the fault struck."""
        found = []
        for path in self.world.logs():
            with path.open("rb") as log:
                log.seek(self._log_sizes.get(path, 0))
                found.append(log.read().decode(errors="replace"))
        return "".join(found)

    def _find_line(self) -> str:
        """Return the line that tells of this fault; none is an offence."""
        pattern = self.entry.kind.log
        if not self.await_line(pattern, 12.0):
            self.offences.append(f"the log says nothing of {self.entry}: no line like {pattern!r}")
            return ""
        lines = self.new_log().splitlines()
        return next((line for line in lines if re.search(pattern, line)), "")
