"""The same events again: what is stored already is recognised, compared and left."""

from __future__ import annotations

from collections.abc import Mapping

from bench.contestants import compete
from bench.figures import Sample
from bench.laboratory import Laboratory, landing, say
from bench.results import Section

FIRST, AGAIN = "first landing", "replay"


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Land everything, set the position to 0, land everything again."""
    section = Section("Replay of what is stored", reference=FIRST)
    samples: dict[str, list[Sample]] = {FIRST: [], AGAIN: []}
    ours = landing("ours")
    with lab.feed() as stream:
        for _ in range(lab.plan.rounds):
            with lab.cluster.database("ours") as database:
                for name in (FIRST, AGAIN):
                    sample, _ = compete(ours, lab.cluster, database, stream, lab.plan.events)
                    lab.check(ours, database, lab.plan.events)
                    samples[name].append(sample)
                    say(f"  {name}: {sample.rate:,.0f} events/s")
                    lab.cluster.query(database, "update sse_stream.offsets set position = 0")
    section.samples = samples
    section.notes = ["one writer; the second run finds every row with the same content"]
    return section
