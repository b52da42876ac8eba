"""A database that is not on this machine: a proxy holds each direction back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from bench.corpus import tool
from bench.figures import Sample
from bench.laboratory import Laboratory, landing
from bench.results import Section

LOCAL = "local"
# Milliseconds that a round trip takes longer.
AWAY = (0, 5, 10)


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Land the corpus through the proxy at several distances, and without it."""
    section = Section("Distance of the database", reference=LOCAL)
    with lab.feed() as stream:

        def land(ms: int) -> Sample:
            server = f"127.0.0.1:{lab.cluster.server.port}"
            with tool("delay", server, f"--ms={ms / 2}") as port:
                return lab.land(landing("ours"), stream, via=port)

        section.samples = lab.rounds(
            {
                LOCAL: lambda: lab.land(landing("ours"), stream),
                **{f"{ms} ms": partial(land, ms) for ms in AWAY},
            }
        )
    section.notes = [
        "one writer; so many ms are added to each round trip, half of them in each direction;",
        "0 ms is what the proxy itself costs",
    ]
    return section
