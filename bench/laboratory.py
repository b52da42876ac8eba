"""Everything that sections share: the server, the corpus, the prebuilt rows, one measured round."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bench import corpus, prebuilt
from bench.contestants import Contestant, compete, copy_in, ours
from bench.figures import Sample
from bench.plan import WORK, BenchError, Plan
from bench.server import Cluster

TABLES = {
    "order_created": "analytics.orders",
    "order_item_added": "analytics.order_items",
    "payment_captured": "analytics.payments",
    "feedback_submitted": "analytics.feedback",
}
RAW = {"ours": "raw_data.events_raw", "a2": "raw_data.events_raw", "raw_only": "landing.events"}


class Laboratory:
    """The surroundings of all measurements; a context manager that starts and removes them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        WORK.mkdir(exist_ok=True)
        (WORK / ".gitignore").write_text("*\n")
        self._lock = (WORK / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BenchError("another bench runs in this checkout: wait for its end") from None
        self.corpus = corpus.prepare(plan.events)
        self.cluster = Cluster()
        self._prebuilt: dict[tuple[str, int], prebuilt.Prebuilt] = {}

    def __enter__(self) -> Laboratory:
        self.cluster.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.cluster.__exit__(*exception)

    @contextmanager
    def feed(self, *options: str) -> Iterator[str]:
        """Serve the corpus; `options` are those of the program `serve`. Gives the stream's URL."""
        with corpus.tool("serve", str(self.corpus.path), *options) as port:
            yield f"http://127.0.0.1:{port}/stream"

    def prebuilt(self, schema: str, sessions: int) -> prebuilt.Prebuilt:
        """Return the COPY files of a schema, building them once per run."""
        key = (schema, sessions)
        if key not in self._prebuilt:
            template = "raw_only" if schema == "raw_only" else "ours"
            with self.cluster.database(template) as database, self.feed() as stream:
                lander = landing(template)
                compete(lander, self.cluster, database, stream, self.plan.events)
                self.check(lander, database, self.plan.events)
                for each in prebuilt.SCHEMAS:
                    if (each == "raw_only") == (template == "raw_only"):
                        for number in (1, 2):
                            folder = WORK / "prebuilt"
                            self._prebuilt[each, number] = prebuilt.build(
                                self.cluster, database, each, number, folder
                            )
        return self._prebuilt[key]

    def ceiling(self, schema: str, sessions: int) -> Sample:
        """Load the prebuilt rows into a fresh database."""
        files = self.prebuilt(schema, sessions)
        with self.cluster.database(schema) as database:
            sample = copy_in(self.cluster, database, files.folders, self.plan.events)
            self.check(Contestant("raw COPY", schema, ()), database, self.plan.events)
            return sample

    def land(self, contestant: Contestant, stream: str, **options: Any) -> Sample:
        """Let a contestant land its share of the stream in a fresh database, and count its rows."""
        events = (
            min(self.plan.slow_events, self.plan.events) if contestant.slow else self.plan.events
        )
        with self.cluster.database(contestant.template) as database:
            sample, _ = compete(contestant, self.cluster, database, stream, events, **options)
            self.check(contestant, database, events)
            return sample

    def rounds(
        self, entries: Mapping[str, Callable[[], Sample]], count: int | None = None
    ) -> dict[str, list[Sample]]:
        """Measure every entry once per round, every other round in the other order."""
        samples: dict[str, list[Sample]] = {name: [] for name in entries}
        for number in range(self.plan.rounds if count is None else count):
            for name in list(entries)[:: -1 if number % 2 else 1]:
                sample = entries[name]()
                samples[name].append(sample)
                say(f"  round {number + 1}: {name}: {sample.rate:,.0f} events/s")
        return samples

    def check(self, contestant: Contestant, database: str, events: int) -> None:
        """Count what landed; raise BenchError if it is not everything."""
        template = contestant.template
        if template not in RAW:
            return
        expected = {RAW[template]: events}
        if template != "raw_only":
            counts = self.corpus.counts(events)
            expected.update({table: counts[kind] for kind, table in TABLES.items()})
            paid = "(select from analytics.orders where total is not null)"
            expected[paid] = counts["payment_captured"]
        for table, rows in expected.items():
            name = f"{table} x" if table.startswith("(") else table
            ((found,),) = self.cluster.query(database, f"select count(*) from {name}")
            if found != rows:
                raise BenchError(
                    f"{contestant.name} left {found} rows in {table} and not {rows}: "
                    "its figures would mean nothing"
                )


def say(text: str) -> None:
    """Tell whoever waits how far it is; standard output is for the result."""
    print(text, file=sys.stderr, flush=True)


def landing(template: str) -> Contestant:
    """Return the operator as it lands rows in a template's tables."""
    if template == "raw_only":
        preset = os.path.join(os.path.dirname(__file__), "presets", "raw_only")
        options = (f"--preset={preset}", '--set=unknown_events="raw_only"', "--writers=1")
        return ours("ours, raw landing", *options, template="raw_only")
    return ours("ours, 1 writer", "--writers=1")
