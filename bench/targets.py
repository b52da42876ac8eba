"""What the figures are measured against: each target with its bound, and reached or missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.figures import Spread
from bench.results import Section, table

Sections = Mapping[str, Section]
# Two processes are shown beside them, but one is what an operator is.
PYTHON_COPY = ("psycopg 3, staged", "psycopg 3, direct", "asyncpg")
RAW, RAW_2 = "raw COPY, 1 session", "raw COPY, 2 sessions"
OURS, OURS_2 = "ours, 1 writer", "ours, 2 writers"
NOT_COUNTED = {each: f"{each}, sales not counted" for each in (OURS, OURS_2)}


@dataclass(frozen=True)
class Target:
    """A bound and how its value comes out of the sections; None where they did not run."""

    what: str
    bound: float
    value: Callable[[Sections], Spread | float | None]
    at_most: bool = False

    def judge(self, sections: Sections) -> dict[str, Any] | None:
        """Return name, bound, value and verdict, None if it was not measured."""
        value = self.value(sections)
        if value is None:
            return None
        median = value.median if isinstance(value, Spread) else value
        reached = median <= self.bound if self.at_most else median >= self.bound
        return {
            "what": self.what,
            "bound": f"{'at most' if self.at_most else 'at least'} {self.bound:,g}",
            "value": median,
            "spread": [value.low, value.high] if isinstance(value, Spread) else None,
            "reached": reached,
        }


def _ratio(section: str, one: str, other: str) -> Callable[[Sections], Spread | None]:
    return lambda all_: all_[section].ratio(one, other) if section in all_ else None


def _median(section: str, name: str, figure: str) -> Callable[[Sections], float | None]:
    return lambda all_: all_[section].median(name, figure) if section in all_ else None


def _figure(section: str, name: str) -> Callable[[Sections], float | None]:
    def value(sections: Sections) -> float | None:
        figures = sections[section].figures if section in sections else {}
        return figures[name][0] if name in figures else None

    return value


def _best_python(ours: str) -> Callable[[Sections], Spread | None]:
    def value(sections: Sections) -> Spread | None:
        section = sections.get("throughput")
        if section is None:
            return None
        rates = {name: section.median(name, "rate") or 0.0 for name in PYTHON_COPY}
        return section.ratio(ours, max(rates, key=rates.__getitem__))

    return value


TARGETS = (
    Target("1 writer to raw COPY, 1 session", 0.95, _ratio("throughput", OURS, RAW)),
    Target("2 writers to raw COPY, 1 session", 1.5, _ratio("throughput", OURS_2, RAW)),
    Target("2 writers to raw COPY, 2 sessions", 0.9, _ratio("throughput", OURS_2, RAW_2)),
    Target("1 writer to the best Python COPY peer", 1.25, _best_python(OURS)),
    Target("2 writers to the best Python COPY peer", 2.2, _best_python(OURS_2)),
    Target(
        "2 writers to the per-row operator on the first schema",
        35,
        _ratio("throughput", OURS_2, "per-row psycopg2, first schema"),
    ),
    Target(
        "raw COPY, our schema to the first schema",
        1.7,
        _ratio("throughput", RAW, "raw COPY, first schema"),
    ),
    Target("raw landing to dlt, arrow", 2.5, _ratio("landing", "ours", "dlt, arrow")),
    Target("raw landing to dlt, default", 15, _ratio("landing", "ours", "dlt, default")),
    Target("full replay to first landing", 1.0, _ratio("replay", "replay", "first landing")),
    Target(
        "client CPU per event, 1 writer, us",
        2.5,
        _median("throughput", OURS, "client_us"),
        at_most=True,
    ),
    Target("parser, GB/s at 8 KiB chunks", 2.0, _figure("parser", "parser, 8 KiB chunks")),
    Target("parser to eventsource-stream, 8 KiB", 5.0, _figure("parser", "to eventsource-stream")),
    Target("parser, slowest to fastest chunk size", 0.75, _figure("parser", "flatness")),
    Target("decode and encode, events/s", 850_000, _figure("parser", "decode and encode")),
    Target("peak RSS, most events, MiB", 32, _figure("memory", "peak, most"), at_most=True),
    Target("peak RSS, most to fewest events", 1.25, _figure("memory", "growth"), at_most=True),
    Target("throughput, most to fewest stored", 0.9, _figure("growth", "most to fewest")),
    Target("1 writer, sales counted to not", 0.9, _ratio("rollups", OURS, NOT_COUNTED[OURS])),
    Target("2 writers, sales counted to not", 0.9, _ratio("rollups", OURS_2, NOT_COUNTED[OURS_2])),
    Target("batch_size 50 to 5000", 0.9, _ratio("batches", "batch 50", "batch 5000")),
    # Both through the proxy, whose own work on the same processors is not distance.
    Target("database 5 ms away to 0 ms", 0.9, _ratio("distance", "5 ms", "0 ms")),
    Target("latency p50, natural rate, ms", 10, _figure("latency", "natural p50"), at_most=True),
    Target("latency p99, natural rate, ms", 100, _figure("latency", "natural p99"), at_most=True),
    Target("latency p50, 500/s, ms", 10, _figure("latency", "500/s p50"), at_most=True),
    Target("latency p99, 500/s, ms", 100, _figure("latency", "500/s p99"), at_most=True),
    Target(
        "latency p99, half the ceiling, ms",
        250,
        _figure("latency", "half the ceiling p99"),
        at_most=True,
    ),
    Target(
        "events generated and appended per second",
        300_000,
        _figure("fanout", "generate and append"),
    ),
    Target("/stream to 1 client, events/s", 1_000_000, _figure("fanout", "/stream, 1 clients")),
    Target(
        "/stream to 100 clients, events/s each", 20_000, _figure("fanout", "/stream, 100 clients")
    ),
    Target(
        "page of 5,000 events, ms", 3, _figure("fanout", "/events, page of 5,000"), at_most=True
    ),
    Target(
        "1,000 clients at 1,000 events/s, slowest",
        990,
        _figure("fanout", "live, 1,000 clients, slowest"),
    ),
    Target(
        "1,000 clients, delivery p99, ms",
        250,
        _figure("fanout", "live, 1,000 clients, p99"),
        at_most=True,
    ),
    Target(
        "1,000 clients, memory, MiB",
        200,
        _figure("fanout", "live, 1,000 clients, memory"),
        at_most=True,
    ),
)


def judged(sections: Sections) -> list[dict[str, Any]]:
    """Return the verdict on every target that was measured."""
    return [verdict for target in TARGETS if (verdict := target.judge(sections))]


def lines(verdicts: list[dict[str, Any]]) -> list[str]:
    """Return the verdicts as text for a terminal."""
    if not verdicts:
        return []
    rows = [
        (
            each["what"],
            each["bound"],
            f"{each['value']:,.4g}",
            "({:,.4g}-{:,.4g})".format(*each["spread"]) if each["spread"] else "",
            "reached" if each["reached"] else "MISSED",
        )
        for each in verdicts
    ]
    return ["Targets", "=======", *table([("", "target", "measured", "spread", ""), *rows])]
