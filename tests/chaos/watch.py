"""Looks at source, offset and memory several times a second, and remembers what must not be."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil
import psycopg2
import psycopg2.extensions

from chaos.world import STREAM, World

EVERY_SECONDS = 0.1
MIB = 1 << 20
# A run may take this much more than it had when it began to read.
GROWTH_MIB = 64
# Where the stream stands, and where the writer stands that is ahead of the others.
_POSITION = """
    select s.position, (select max(position) from sse_stream.offsets o where o.stream = s.stream)
    from sse_stream.streams s where stream = %s"""


@dataclass(frozen=True)
class Look:
    """What was seen last; `head` was asked for before `position`, from `at` on."""

    head: int = 0
    position: int = 0
    furthest: int = 0
    at: float = 0.0

    @property
    def in_flight(self) -> int:
        """Events that are generated and not committed, at least."""
        return self.head - self.position


class Watch(threading.Thread):
    """Polls until it is told to end."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self._world = world
        self._enough = threading.Event()
        self._connection: psycopg2.extensions.connection | None = None
        self._first_rss: dict[int, int] = {}
        self.look = Look()
        self.began = time.monotonic()
        self.offences: list[str] = []
        self.largest_growth = 0
        self.largest_rss = 0

    def run(self) -> None:
        """Look until the end."""
        self.began = time.monotonic()
        while not self._enough.wait(EVERY_SECONDS):
            self._look()
            for run in self._world.tasks.everyone():
                self._weigh(run.pid)

    def elapsed(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self.began

    def end(self) -> None:
        """Stop looking."""
        self._enough.set()
        self.join(10)

    def await_all(self, after: float, seconds: float) -> float | None:
        """Return when every writer had moved beyond where any of them stood after `after`.

        None if that does not come in time. What one writer commits says nothing of the others.
        """
        deadline = time.monotonic() + seconds
        furthest: int | None = None
        while time.monotonic() < deadline:
            look = self.look
            if look.at > after and furthest is None:
                furthest = look.furthest
            if furthest is not None and look.position > furthest:
                return look.at
            time.sleep(EVERY_SECONDS / 4)
        return None

    def positions(self) -> tuple[int, int] | None:
        """Return what is committed of all writers and of one; None without an answer."""
        try:
            if self._connection is None:
                url = self._world.databases.admin("restaurant_analytics")
                self._connection = psycopg2.connect(url, connect_timeout=2)
                self._connection.autocommit = True
            cursor = self._connection.cursor()
            cursor.execute(_POSITION, [STREAM])
            row = cursor.fetchone()
            return (int(row[0]), int(row[1])) if row else (0, 0)
        except psycopg2.Error:
            self._connection = None
            return None

    def _look(self) -> None:
        head = self._world.source.head()
        at = time.monotonic()
        positions = self.positions()
        head = self.look.head if head is None else head
        if positions is None:
            # Not a look at the writers: whoever waits for one waits on.
            at, positions = self.look.at, (self.look.position, self.look.furthest)
        position, furthest = positions
        if position < self.look.position:
            self.offences.append(f"the offset fell from {self.look.position} to {position}")
        if position > head > self.look.head:
            # The head was read before the position: only a position far beyond it is impossible.
            later = self._world.source.head()
            if later is not None and position > later:
                self.offences.append(f"the offset {position} is beyond the source's {later}")
        self.look = Look(head, position, furthest, at)

    def _weigh(self, pid: int) -> None:
        with suppress(psutil.Error):
            if pid == 0:
                return
            process = psutil.Process(pid)
            # The import of Airflow is over; two seconds later the run reads.
            if time.time() - process.create_time() < 2:
                return
            rss = process.memory_info().rss
            growth = rss - self._first_rss.setdefault(pid, rss)
            self.largest_rss = max(self.largest_rss, rss)
            if growth > self.largest_growth:
                self.largest_growth = growth
                if growth > GROWTH_MIB * MIB:
                    self.offences.append(f"a task grew by {growth / MIB:.0f} MiB")
