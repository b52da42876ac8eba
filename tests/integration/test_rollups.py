"""Counted sales through the engine: whatever the feed does and whatever dies, they are what the facts say."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import uuid
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from demo import oracle, rollups
from feed_server import Answer, Request, serve
from operator_stage import Generator, compare, counts, run, until
from schema_database import ROOT, Database
from test_cli import Cli, cli, killable  # noqa: F401 (fixtures)

from sse_stream import SSEStreamOperator

GOLDEN = ROOT / "tests" / "fixtures" / "golden" / "restaurant.sse"
FACTS = (oracle.ORDERS, oracle.ITEMS, oracle.PAYMENTS, oracle.FEEDBACK)
FEW = "alter table analytics.order_items add constraint few check (qty < 2) not valid"
WRITERS = "select distinct writer from analytics.sales_by_minute_parts order by 1"


def assert_counted(restaurant: Database, tables: dict[str, dict[str, Any]]) -> None:
    """The views hold what these facts, counted in Python, come to."""
    expected = rollups.count(*(tables[table].values() for table in FACTS))
    with closing(psycopg2.connect(restaurant.dsn)) as connection:
        assert list(rollups.differences(expected, rollups.read(connection))) == []


def shuffled(events: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Late, early and repeated: children before their parents, a fifth of the events a second time."""
    rng = random.Random(seed)
    late = [{**event, "late": at + rng.expovariate(1 / 60)} for at, event in enumerate(events)]
    again = [
        {**event, "event_id": str(uuid.UUID(int=rng.getrandbits(128))), "late": event["late"] + 50}
        for event in rng.sample(late, len(late) // 5)
    ]
    return sorted(late + again, key=lambda event: float(event["late"]))


@pytest.mark.parametrize("writers", [1, 2, 4])
def test_late_repeated_and_waiting_events_count_once(restaurant: Database, writers: int) -> None:
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    texts = [line[6:] for line in lines if line.startswith("data: ")]
    feed = [
        f"id: {number}\nevent: {event['event_type']}\ndata: {json.dumps(event)}\n\n"
        for number, event in enumerate(shuffled([json.loads(text) for text in texts], writers), 1)
    ]

    def answer(request: Request) -> Answer:
        last = int(request.headers.get("last-event-id", 0))
        status = 200 if last < len(feed) else 204
        return Answer(feed[last:], status=status, headers={"X-Epoch": "one"})

    with serve(answer) as source:

        def land(most: int | None) -> dict[str, Any]:
            operator = SSEStreamOperator(
                task_id="t",
                sse_url=source.url,
                max_events_per_run=most,
                offset_variable=None,
                writers=writers,
                batch_size=40,
            )
            report: dict[str, Any] = operator.execute({})
            return report

        first = land(len(feed) // 2)
        assert first["waiting"] > 0
        # Read from the beginning once more, as after a restored backup.
        restaurant.run("update sse_stream.offsets set position = 0")
        second = land(None)
    assert second["duplicates"] > first["events_processed"] // 2
    assert second["dead_letters"] == 0
    assert restaurant.one("select count(*) from sse_stream.waiting") == 0
    events = [json.loads(text, parse_float=Decimal) for text in texts]
    assert_counted(restaurant, oracle.expected_rows(events, "one"))
    assert len(restaurant.run(WRITERS)) == writers


def test_killed_runs_replays_and_other_numbers_of_writers(
    generator: Generator,
    restaurant: Database,
    variables: dict[str, str],
    killable: Callable[[], subprocess.Popen[bytes]],  # noqa: F811
) -> None:
    for _ in range(2):
        wanted = counts(restaurant)[0] + 300
        process = killable()
        until(lambda wanted=wanted: counts(restaurant)[0] > wanted)
        process.send_signal(signal.SIGKILL)
        process.wait()
        compared = compare(restaurant, generator)
        assert not compared.differences, compared.report()
    for writers in (4, 2, 1):
        run(generator, max_events_per_run=600, writers=writers, batch_size=50)
    variables["restaurant_stream_offset"] = "0"
    replay = run(generator, max_events_per_run=1500, writers=2)
    assert replay["duplicates"] == 1500
    compared = compare(restaurant, generator)
    assert not compared.differences, compared.report()
    names = {name for (name,) in restaurant.run(WRITERS)}
    assert {"restaurant#0.0", "restaurant#0.1"} < names
    assert names <= {f"restaurant#0.{number}" for number in range(4)}


def test_repaired_dead_letters_count_when_they_land(
    generator: Generator,
    restaurant: Database,
    cli: Cli,  # noqa: F811
) -> None:
    until(lambda: generator.health()["last_offset"] > 1000)
    restaurant.run(FEW)
    report = run(generator, max_events_per_run=1000, offset_variable=None)
    assert report["dead_letters"] > 10
    assert restaurant.run("select differing from analytics.check_rollups()") == [(0,)] * 3
    restaurant.run("alter table analytics.order_items drop constraint few")
    assert cli("dead-letters", "replay", "--all").code == 0
    # The oracle wants no letters at all; these have landed.
    restaurant.run("delete from sse_stream.dead_letters")
    compared = compare(restaurant, generator)
    assert not compared.differences, compared.report()
    assert ("restaurant#0.replay",) in restaurant.run(WRITERS)
