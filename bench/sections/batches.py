"""Batch sizes with a backlog: a small `batch_size` is a wish for latency, not for small commits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from bench.laboratory import Laboratory, landing
from bench.results import Section

SIZES = (50, 200, 1000, 5000, 20_000)
QUICK = (50, 5000)


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Land the same events with each size."""
    section = Section("Batch sizes, everything waiting at the source", reference="batch 5000")
    with lab.feed() as stream:
        section.samples = lab.rounds(
            {
                f"batch {size}": partial(lab.land, landing("ours"), stream, batch=size)
                for size in (QUICK if lab.plan.quick else SIZES)
            }
        )
    section.notes = ["one writer; batch_size is the number of events at which a batch becomes due"]
    return section
