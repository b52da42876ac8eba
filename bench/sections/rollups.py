"""What counting sales costs: the same landing with the roll-ups' triggers and without, in alternation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from bench.contestants import Contestant, compete, ours
from bench.figures import Sample
from bench.laboratory import Laboratory
from bench.results import Section
from bench.sections.schema import variants
from bench.targets import NOT_COUNTED, OURS, OURS_2

WRITERS = {OURS: 1, OURS_2: 2}


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Land the corpus by one writer and by two, counted and not counted."""
    section = Section("Counted sales", reference=NOT_COUNTED[OURS])
    (without,) = (each for each in variants() if each.name == "without counted sales")
    with lab.feed() as stream:
        entries = {}
        for name, writers in WRITERS.items():
            lander = ours(name, f"--writers={writers}")
            entries[NOT_COUNTED[name]] = partial(_land, lab, lander, stream, without.change)
            entries[name] = partial(lab.land, lander, stream)
        section.samples = lab.rounds(entries)
    for name in WRITERS:
        cost = _server_us(section, name) - _server_us(section, NOT_COUNTED[name])
        section.figures[f"cost, {name}"] = (cost, "us of server CPU more per event")
    section.notes = ["not counted: the triggers of the roll-ups are switched off"]
    return section


def _land(lab: Laboratory, lander: Contestant, stream: str, change: str) -> Sample:
    with lab.cluster.database(lander.template) as database:
        lab.cluster.query(database, change)
        sample, _ = compete(lander, lab.cluster, database, stream, lab.plan.events)
        lab.check(lander, database, lab.plan.events)
        return sample


def _server_us(section: Section, name: str) -> float:
    return section.median(name, "server_us") or 0.0
