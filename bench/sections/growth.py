"""Throughput while the tables grow: the same run again and again on one database."""

from __future__ import annotations

from collections.abc import Mapping

from bench.contestants import compete
from bench.figures import Sample
from bench.laboratory import Laboratory, landing, say
from bench.results import Section

SIZES = (500_000, 2_000_000, 5_000_000)
QUICK = (100_000, 500_000, 1_000_000)


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Fill up to each size, then measure rounds of the corpus' length around it."""
    plan = lab.plan
    sizes = QUICK if plan.quick else SIZES
    section = Section("Throughput against stored events", reference=_name(sizes[0]))
    width = plan.events * plan.rounds
    stored = 0
    with (
        lab.feed(f"--events={sizes[-1] + 2 * width}") as stream,
        lab.cluster.database("ours") as db,
    ):

        def land(events: int) -> Sample:
            nonlocal stored
            sample, _ = compete(landing("ours"), lab.cluster, db, stream, events)
            stored += events
            lab.check(landing("ours"), db, stored)
            return sample

        for size in sizes:
            begin = max(size - width // 2, stored)
            if begin > stored:
                land(begin - stored)
                # What the fill left to do is not the rounds' to pay.
                lab.cluster.query(db, "vacuum (analyze)")
            section.samples[_name(size)] = [land(plan.events) for _ in range(plan.rounds)]
            say(f"  {_name(size)}: {section.median(_name(size), 'rate'):,.0f} events/s")
    ends = [section.median(_name(size), "rate") or 0.0 for size in (sizes[0], sizes[-1])]
    section.figures = {"most to fewest": (ends[1] / ends[0], "ratio of medians")}
    section.notes = [
        f"one writer; each size is the middle of its rounds, which add {plan.events:,} events each;",
        "identifiers are ordered by time, as our generator makes them; the tables are vacuumed",
        "after each fill (the 10 million events of the section memory have autovacuum beside them)",
    ]
    return section


def _name(size: int) -> str:
    return f"{size / 1e6:g} M stored"
