"""The whole path: a run that the real scheduler started, and every row it left, compared."""

from __future__ import annotations

import subprocess
import sys

import pytest
from demo.oracle import EVENT_TYPES, KEYS, compare
from demo.smoke import prove_comparison, snapshot, verify, wait_for_run
from running_demo import ROOT, Demo

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

# What somebody might do to a row, and the table and column that the comparison must name.
TAMPERINGS = {
    "update raw_data.events_raw set payload = payload || '{\"rating\": 6}'": (
        "raw_data.events_raw",
        "payload",
    ),
    "update raw_data.events_raw set ts = ts + interval '1 microsecond'": (
        "raw_data.events_raw",
        "ts",
    ),
    "update analytics.orders set total = null where total is not null": (
        "analytics.orders",
        "total",
    ),
    "update analytics.orders set order_ts = order_ts + interval '1 hour'": (
        "analytics.orders",
        "order_ts",
    ),
    "update analytics.order_items set qty = qty + 1": ("analytics.order_items", "qty"),
    "update analytics.order_items set item_name = 'soup'": ("analytics.order_items", "item_name"),
    "update analytics.payments set auth_code = 'ABCDE'": ("analytics.payments", "auth_code"),
    "delete from analytics.payments": ("analytics.payments", "row"),
    "update analytics.feedback set nps = (nps + 1) % 11": ("analytics.feedback", "nps"),
    "update analytics.feedback set feedback_id = gen_random_uuid()": ("analytics.feedback", "row"),
}


def test_a_scheduled_run_lands_every_event_as_the_rules_say(demo: Demo) -> None:
    wait_for_run(demo.stack)
    outcome = verify(demo.stack.databases, demo.settings.api_url)
    assert not outcome.differences, outcome.report()
    assert all(outcome.events[event_type] > 0 for event_type in EVENT_TYPES)
    assert outcome.rows["raw_data.events_raw"] == outcome.events.total()
    assert all(outcome.rows[table] > 0 for table in KEYS)
    assert outcome.money["analytics.payments.amount"] == outcome.money["analytics.orders.total"]


@pytest.mark.parametrize("statement", TAMPERINGS)
def test_one_row_changed_by_hand_is_found(demo: Demo, statement: str) -> None:
    wait_for_run(demo.stack)
    verb, _, rest = statement.partition(" ")
    table = rest.split()[1] if verb == "delete" else rest.split()[0]
    one = f"{KEYS[table]} = (select {KEYS[table]} from {table} where {{}} limit 1)"
    given = statement.partition(" where ")
    condition = one.format(given[2] or "true")
    with snapshot(demo.stack.databases) as connection:
        cursor = connection.cursor()
        # As if no trigger had seen it: those of the counted sales let no order move in a snapshot.
        cursor.execute("set session_replication_role = replica")
        cursor.execute(f"{given[0]} where {condition}")
        assert cursor.rowcount == 1
        differences = compare(connection, demo.settings.api_url).differences
    assert TAMPERINGS[statement] in {(found.table, found.column) for found in differences}


def test_the_proof_inside_smoke_holds(demo: Demo) -> None:
    wait_for_run(demo.stack)
    prove_comparison(demo.stack.databases, demo.settings.api_url)


def test_a_row_lost_with_its_event_is_found(demo: Demo) -> None:
    """Deleting an event and all its rows leaves the tables consistent, but not complete."""
    wait_for_run(demo.stack)
    with snapshot(demo.stack.databases) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "with gone as (delete from analytics.feedback where feedback_id ="
            " (select feedback_id from analytics.feedback limit 1) returning feedback_id)"
            " delete from raw_data.events_raw where payload ->> 'feedback_id' ="
            " (select feedback_id::text from gone)"
        )
        differences = compare(connection, demo.settings.api_url).differences
    assert {(found.table, found.column) for found in differences} == {
        ("raw_data.events_raw", "row"),
        ("analytics.feedback", "row"),
        ("analytics.sales_by_minute", "numbers"),
    }


def test_what_waits_is_counted_and_not_missed(demo: Demo) -> None:
    wait_for_run(demo.stack)
    with snapshot(demo.stack.databases) as connection:
        connection.cursor().execute(
            "with one as (delete from analytics.feedback where feedback_id ="
            " (select feedback_id from analytics.feedback limit 1) returning feedback_id)"
            " insert into sse_stream.waiting (stream, epoch, event_offset, source_id, event_type,"
            " parent_table, parent_key, parent_id, raw)"
            " select 'restaurant', epoch, event_offset, event_offset::text, event_type,"
            " 'analytics.orders', '', '', '' from raw_data.events_raw"
            " where payload ->> 'feedback_id' = (select feedback_id::text from one)"
        )
        outcome = compare(connection, demo.settings.api_url)
    assert not outcome.differences, outcome.report()
    assert outcome.waiting == 1
    assert f"= {outcome.events.total() - 1} landed + 1 waiting + 0 dead" in outcome.report()


def test_smoke_passes_beside_a_running_demo(demo: Demo) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo", "smoke"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "smoke passed" in done.stdout
    assert "landed + 0 waiting + 0 dead" in done.stdout
    assert demo.pid, "the demo went on"
