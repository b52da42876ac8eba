"""What each index, constraint and trigger costs per event: on empty tables, and on full ones.

The prebuilt rows are loaded by raw COPY, so that the client is out of the figures; a cost is the
difference of server CPU to our schema as it is. On full tables the same rows are loaded, removed and
vacuumed again and again. Removing goes without triggers and keys and is not measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import prebuilt
from bench.contestants import compete, copy_in
from bench.figures import Sample
from bench.laboratory import Laboratory, landing, say
from bench.plan import WORK
from bench.results import Section

FULL, QUICK = 5_000_000, 500_000
VARIANTS = Path(__file__).parent.parent / "schema_variants.sql"
REMOVAL = Path(__file__).parent.parent / "schema_removal.sql"
AS_IS = "our schema"
RANDOM = "random identifiers"


@dataclass(frozen=True)
class Variant:
    """A change of our schema and its undoing."""

    name: str
    change: str
    undo: str


def variants() -> Iterator[Variant]:
    """Read the file of variants."""
    for block in VARIANTS.read_text().split("-- variant: ")[1:]:
        name, _, script = block.partition("\n")
        change, _, undo = script.partition("-- undo\n")
        yield Variant(name.strip(), change, undo)


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Measure every variant on empty tables in alternation, then on full ones one after another."""
    section = Section("What the schema costs (server CPU per event, raw COPY, 1 session)")
    known = list(variants())
    entries = {AS_IS: lambda: lab.ceiling("ours", 1)}
    for each in known:
        entries[each.name] = partial(_empty, lab, each)
    entries["first schema"] = lambda: lab.ceiling("a2", 1)
    with lab.feed("--random-ids") as stream, lab.cluster.database("ours") as database:
        compete(landing("ours"), lab.cluster, database, stream, lab.plan.events)
        files = {
            schema: prebuilt.build(lab.cluster, database, schema, 1, WORK / "prebuilt-random")
            for schema in ("ours", "a2")
        }
    entries[RANDOM] = lambda: _load(lab, "ours", files["ours"])
    entries[f"first schema, {RANDOM}"] = lambda: _load(lab, "a2", files["a2"])
    section.samples = lab.rounds(entries)
    for name, samples in section.samples.items():
        say(f"  {name}, empty: {_server_us(samples):.1f} us")
    stored = QUICK if lab.plan.quick else FULL
    full = dict(_full(lab, known, stored))
    full[RANDOM] = dict(_full(lab, [], stored, "--random-ids"))[AS_IS]
    _costs(section, section.samples, "empty")
    _costs(section, full, f"{stored / 1e6:g} M")
    section.samples.update({f"{name}, {stored / 1e6:g} M": found for name, found in full.items()})
    section.notes = [
        f"{lab.plan.events:,} events by COPY of prebuilt rows, 5,000 per transaction; a cost is the",
        "difference of medians to our schema: what it saves to leave something out, or adds to have it",
    ]
    return section


def _load(lab: Laboratory, schema: str, files: prebuilt.Prebuilt) -> Sample:
    with lab.cluster.database(schema) as database:
        return copy_in(lab.cluster, database, files.folders, lab.plan.events)


def _empty(lab: Laboratory, variant: Variant) -> Sample:
    files = lab.prebuilt("ours", 1)
    with lab.cluster.database("ours") as database:
        lab.cluster.query(database, variant.change)
        return copy_in(lab.cluster, database, files.folders, lab.plan.events)


def _full(
    lab: Laboratory, known: list[Variant], stored: int, *feed: str
) -> Iterator[tuple[str, list[Sample]]]:
    """Give the samples of each variant on a database that holds `stored` events before each."""
    events = lab.plan.events
    with lab.cluster.database("ours") as database:
        with lab.feed(f"--events={stored + events}", *feed) as stream:
            compete(landing("ours"), lab.cluster, database, stream, stored + events)
        lab.cluster.query(database, _keys(stored))
        files = prebuilt.build(lab.cluster, database, "ours", 1, WORK / "prebuilt-full", stored)

        def load() -> Sample:
            _remove(lab, database)
            return copy_in(lab.cluster, database, files.folders, events)

        yield AS_IS, [load() for _ in range(lab.plan.rounds)]
        for each in known:
            lab.cluster.query(database, each.change)
            samples = [load() for _ in range(3)]
            _remove(lab, database)
            lab.cluster.query(database, each.undo)
            say(f"  {each.name}, {stored:,} stored: {_server_us(samples):.1f} us")
            yield each.name, samples


def _keys(stored: int) -> str:
    """Return the script that notes which rows the last events brought."""
    return REMOVAL.read_text().partition("-- remove\n")[0].replace(":stored", str(stored))


def _remove(lab: Laboratory, database: str) -> None:
    lab.cluster.query(database, REMOVAL.read_text().partition("-- remove\n")[2])
    lab.cluster.query(database, "vacuum")


def _server_us(samples: list[Sample]) -> float:
    return statistics.median(sample.server_us for sample in samples)


def _costs(section: Section, samples: Mapping[str, list[Sample]], where: str) -> None:
    base = _server_us(samples[AS_IS])
    section.figures[f"{AS_IS}, {where}"] = (base, "us per event")
    for name, found in samples.items():
        if name != AS_IS:
            section.figures[f"{name}, {where}"] = (_server_us(found) - base, "us more per event")
