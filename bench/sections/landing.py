"""Raw landing: every event as it came into one table, against the loader that is best at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from bench.contestants import peer
from bench.laboratory import Laboratory, landing
from bench.results import Section

CONTESTANTS = (
    replace(landing("raw_only"), name="ours"),
    peer("dlt, arrow", "dlt_landing", "--path=arrow", template="dlt"),
    peer("dlt, default", "dlt_landing", "--path=default", template="dlt", slow=True),
)
RAW = "raw COPY, 1 session"


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """One table without facts for everybody."""
    section = Section("Raw landing: one table, no facts", reference=RAW)
    entries = {RAW: lambda: lab.ceiling("raw_only", 1)}
    with lab.feed() as stream:
        for each in CONTESTANTS:
            entries[each.name] = partial(lab.land, each, stream)
        section.samples = lab.rounds(entries)
    section.notes = [
        "ours has a primary key, an offset row and dead letters; dlt's tables have neither key nor",
        "index, and a replay would store every event twice",
        "dlt, arrow: decoded by orjson, CSV by COPY, payload as jsonb; default: INSERT, flattened,",
        f"{min(lab.plan.slow_events, lab.plan.events):,} events a round",
    ]
    return section
