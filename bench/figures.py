"""Numbers of rounds: medians, spreads, ratios within a round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One contestant in one round; CPU in seconds, memory in MiB over what it began with."""

    events: int
    seconds: float
    client_cpu: float
    server_cpu: float
    rss_mib: float | None = None

    @property
    def rate(self) -> float:
        """Events per second of wall clock."""
        return self.events / self.seconds

    @property
    def client_us(self) -> float:
        """Microseconds of the contestant's CPU per event."""
        return self.client_cpu / self.events * 1e6

    @property
    def server_us(self) -> float:
        """Microseconds of the server's CPU per event."""
        return self.server_cpu / self.events * 1e6

    def plain(self) -> dict[str, Any]:
        """Return what goes into the JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """A median with the smallest and the largest of its rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the range of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample]) -> Spread:
    """Compare events per second round by round, so that what slows a whole round cancels out."""
    return spread([a.rate / b.rate for a, b in zip(ours, theirs, strict=True)])
