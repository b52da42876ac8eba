"""One event in a hundred is bad: half are refused by a CHECK, half lack a field."""

from __future__ import annotations

from collections.abc import Mapping

from bench.contestants import compete
from bench.figures import Sample
from bench.laboratory import Laboratory, landing
from bench.plan import BenchError
from bench.results import Section

GOOD, BAD = "0 % bad", "1 % bad"


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Land the corpus as it is, and with every hundredth event spoiled."""
    section = Section("Bad events become dead letters", reference=GOOD)
    with lab.feed() as good, lab.feed("--bad-every=100") as bad:
        section.samples = lab.rounds(
            {GOOD: lambda: lab.land(landing("ours"), good), BAD: lambda: _land(lab, bad)}
        )
    section.notes = ["one writer; every bad event is in sse_stream.dead_letters, which is counted"]
    return section


def _land(lab: Laboratory, stream: str) -> Sample:
    events = lab.plan.events
    with lab.cluster.database("ours") as database:
        sample, _ = compete(landing("ours"), lab.cluster, database, stream, events)
        for table, rows in (
            ("sse_stream.dead_letters", events // 100),
            ("raw_data.events_raw", events - events // 100),
        ):
            ((found,),) = lab.cluster.query(database, f"select count(*) from {table}")
            if found != rows:
                raise BenchError(f"{table} holds {found} rows and not {rows}")
        return sample
