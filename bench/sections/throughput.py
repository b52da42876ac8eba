"""The ceiling, ours and the peers, in alternation on the same corpus: sections 1 to 3."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from bench.contestants import ours, peer
from bench.laboratory import Laboratory
from bench.results import Section
from bench.targets import OURS, OURS_2, RAW, RAW_2

CONTESTANTS = (
    ours(OURS, "--writers=1"),
    peer("psycopg 3, staged", "psycopg_copy"),
    peer("psycopg 3, direct", "psycopg_copy", "--direct"),
    peer("psycopg 3, direct, 2 processes", "psycopg_copy", "--direct", processes=2),
    peer("asyncpg", "asyncpg_copy"),
    peer("per-row psycopg2, first schema", "per_row", template="a2", slow=True),
)


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Everybody lands the same events in the same tables."""
    section = Section("Throughput: the same events into the same tables", reference=RAW)
    with lab.feed() as stream:
        entries = {
            RAW: lambda: lab.ceiling("ours", 1),
            RAW_2: lambda: lab.ceiling("ours", 2),
            "raw COPY, first schema": lambda: lab.ceiling("a2", 1),
        }
        one, *peers = CONTESTANTS
        for each in (one, ours(OURS_2, "--writers=2"), *peers):
            entries[each.name] = partial(lab.land, each, stream)
        section.samples = lab.rounds(entries)
    section.notes = [
        "raw COPY: prebuilt rows, orders complete, 5,000 events per transaction, no replay safety",
        "ours and the COPY peers are replay-safe: 5,000 events per transaction; the peers keep no",
        "offset, no dead letters, compare no content and hold no child back for its parent;",
        "direct: COPY into the tables, stages only for a batch that violates a key",
        f"the per-row operator lands {min(lab.plan.slow_events, lab.plan.events):,} events a round:"
        " its tables stay smaller",
        "first schema: GIN on payload, all secondary indexes, row-level audit (bench/schema_a2.sql)",
    ]
    return section
