"""Days are made, filled from the default partition and dropped; nothing else is ever lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone

import pytest
from schema_database import Database, restaurant_database
from schema_rows import FACTS, make_facts

TODAY = datetime.now(timezone.utc).date()


@pytest.fixture
def dsn() -> Iterator[str]:
    with restaurant_database() as dsn:
        yield dsn


@pytest.fixture
def owner(dsn: str) -> Iterator[Database]:
    database = Database(dsn, "restaurant_owner")
    yield database
    database.close()


@pytest.fixture
def engine(dsn: str) -> Iterator[Database]:
    database = Database(dsn, "restaurant_user")
    # A day must not depend on where the caller lives.
    database.run("set timezone to 'America/Toronto'")
    yield database
    database.close()


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), timezone.utc)


def add_event(database: Database, offset: int, ts: datetime) -> None:
    database.run(
        "insert into raw_data.events_raw (epoch, event_offset, event_id, event_type, ts, payload)"
        " values ('e1', %s, %s, 'order_created', %s, '{}')",
        offset,
        str(uuid.UUID(int=offset)),
        ts,
    )


def place_of(database: Database, offset: int) -> str:
    return str(
        database.one(
            "select tableoid::regclass::text from raw_data.events_raw where event_offset = %s",
            offset,
        )
    )


def partition(day: date) -> str:
    return f"raw_data.events_raw_{day:%Y%m%d}"


def partitions(database: Database, table: str) -> set[str]:
    rows = database.run(
        "select inhrelid::regclass::text from pg_inherits where inhparent = %s::regclass", table
    )
    return {row[0] for row in rows}


def test_an_event_lies_in_its_utc_day(engine: Database) -> None:
    add_event(engine, 1, midnight(TODAY))
    add_event(engine, 2, midnight(TODAY) - timedelta(microseconds=1))
    add_event(engine, 3, midnight(TODAY) + timedelta(days=1) - timedelta(microseconds=1))
    places = [place_of(engine, offset) for offset in (1, 2, 3)]
    assert places == [partition(TODAY), partition(TODAY - timedelta(days=1)), partition(TODAY)]


def test_a_day_takes_its_rows_from_the_default_partition(engine: Database) -> None:
    day = TODAY - timedelta(days=3)
    add_event(engine, 1, midnight(day))
    add_event(engine, 2, midnight(day) - timedelta(microseconds=1))
    assert place_of(engine, 1) == "raw_data.events_raw_default"
    before = engine.run("select * from raw_data.events_raw order by event_offset")

    assert engine.one("select raw_data.ensure_partitions(3, 7)") == 2
    assert place_of(engine, 1) == partition(day)
    assert place_of(engine, 2) == "raw_data.events_raw_default"
    assert engine.run("select * from raw_data.events_raw order by event_offset") == before
    assert engine.one("select raw_data.ensure_partitions(3, 7)") == 0

    # The new day keeps the keys of the table.
    with pytest.raises(Exception, match="duplicate key"):
        add_event(engine, 1, midnight(day))


def test_waiting_audit_rows_move_too(owner: Database) -> None:
    today = f"analytics.audit_log_{TODAY:%Y%m%d}"
    owner.run(f"drop table {today}")
    make_facts(1, 5).insert(owner)
    before = owner.run("select * from analytics.audit_log order by audit_id")
    assert owner.one("select count(*) from analytics.audit_log_default") == len(before)
    owner.run("select raw_data.ensure_partitions()")
    assert owner.one("select count(*) from analytics.audit_log_default") == 0
    assert owner.run("select * from analytics.audit_log order by audit_id") == before
    make_facts(2, 5).insert(owner)
    assert owner.one(f"select count(*) from {today}") > len(before)


def test_ingestion_goes_on_while_days_are_made(dsn: str, engine: Database) -> None:
    busy = Database(dsn, "restaurant_user")
    busy.connection.autocommit = False
    add_event(busy, 1, midnight(TODAY))
    engine.run("set statement_timeout to '4s'")
    assert engine.one("select raw_data.ensure_partitions(1, 9)") == 4
    add_event(busy, 2, midnight(TODAY))
    busy.connection.commit()
    busy.close()
    assert engine.one("select count(*) from raw_data.events_raw") == 2


def test_old_days_and_old_waiting_rows_go(engine: Database) -> None:
    engine.run("select raw_data.ensure_partitions(10, 7)")
    days = [TODAY - timedelta(days=back) for back in (0, 6, 7, 8, 10, 40)]
    for offset, day in enumerate(days):
        add_event(engine, offset, midnight(day))
    removed = engine.run("select * from raw_data.drop_old_partitions(7)")
    assert removed == [
        ("raw_data.events_raw", "partitions", 3),
        ("raw_data.events_raw_default", "rows", 1),
    ]
    rows = engine.run("select event_offset from raw_data.events_raw order by 1")
    assert rows == [(0,), (1,), (2,)]
    assert partition(TODAY - timedelta(days=8)) not in partitions(engine, "raw_data.events_raw")
    assert partition(TODAY - timedelta(days=7)) in partitions(engine, "raw_data.events_raw")


def test_retention_removes_each_thing_at_its_age_and_keeps_facts(
    owner: Database, engine: Database
) -> None:
    facts = make_facts(3, 20)
    facts.insert(engine)
    kept = {table: owner.run(f"select * from analytics.{table} order by 1") for table in FACTS}
    for back in (29, 30, 31, 45):
        # As if these days had been audited; the engine itself can only write at the present.
        owner.run(
            "insert into analytics.audit_log (logged_at, operation, table_name) values (%s, 'DELETE', 'x')",
            midnight(TODAY - timedelta(days=back)),
        )
        owner.run(
            "insert into sse_stream.runs (stream, started_at) values ('restaurant', %s)",
            datetime.now(timezone.utc) - timedelta(days=back, seconds=5),
        )
        owner.run(
            "insert into sse_stream.dead_letters"
            " (stream, source_id, reason_code, reason, raw, created_at)"
            " values ('restaurant', %s, 'x', 'x', 'x', %s)",
            str(back),
            midnight(TODAY - timedelta(days=back)),
        )
    for back in (89, 91):
        owner.run(
            "insert into sse_stream.dead_letters"
            " (stream, source_id, reason_code, reason, raw, state, settled_at)"
            " values ('restaurant', %s, 'x', 'x', 'x', 'replayed', %s)",
            str(back),
            datetime.now(timezone.utc) - timedelta(days=back),
        )
    add_event(engine, 1, midnight(TODAY - timedelta(days=8)))

    removed = {row[0]: row[1:] for row in engine.run("select * from analytics.apply_retention()")}
    assert removed == {
        "raw_data.events_raw": ("partitions", 0),
        "raw_data.events_raw_default": ("rows", 1),
        "analytics.audit_log": ("partitions", 0),
        "analytics.audit_log_default": ("rows", 2),
        "sse_stream.runs": ("rows", 3),
        "sse_stream.dead_letters": ("settled rows", 1),
        "analytics.sales_by_minute_parts": ("rows", 0),
        "analytics.payments_by_minute_parts": ("rows", 0),
        "analytics.items_by_hour_parts": ("rows", 0),
    }
    for table, rows in kept.items():
        assert owner.run(f"select * from analytics.{table} order by 1") == rows
    # Four that are open, however old, and one that was settled lately.
    assert owner.one("select count(*) from sse_stream.dead_letters") == 5
    assert owner.one("select min(logged_at) from analytics.audit_log") == midnight(
        TODAY - timedelta(days=30)
    )
    again = engine.run("select removed from analytics.apply_retention(7, 30, 30, 90, 400)")
    assert again == [(0,)] * 9


def test_old_audit_days_are_dropped_whole(owner: Database, engine: Database) -> None:
    for back in (6, 8):
        day = TODAY - timedelta(days=back)
        owner.run("select raw_data.add_day_partition('analytics.audit_log', %s)", day)
        owner.run(
            "insert into analytics.audit_log (logged_at, operation, table_name) values (%s, 'DELETE', 'x')",
            midnight(day),
        )
    rows = engine.run("select * from analytics.apply_retention(audit_days => 7)")
    assert ("analytics.audit_log", "partitions", 1) in rows
    assert owner.run("select logged_at from analytics.audit_log") == [
        (midnight(TODAY - timedelta(days=6)),)
    ]


def test_senseless_spans_are_refused(engine: Database) -> None:
    before = partitions(engine, "raw_data.events_raw")
    for call in (
        "raw_data.ensure_partitions(-1, 1)",
        "raw_data.ensure_partitions(1, 367)",
        "raw_data.ensure_partitions(null, 1)",
        "raw_data.drop_old_partitions(0)",
        "raw_data.drop_old_partitions(null)",
        "analytics.apply_retention(0, 30, 30)",
        "analytics.apply_retention(7, 6, 30)",
        "analytics.apply_retention(7, 30, 0)",
        "analytics.apply_retention(7, 30, null)",
        "analytics.apply_retention(7, 30, 30, 0)",
        "analytics.apply_retention(7, 30, 30, 90, 6)",
        "analytics.apply_retention(7, 30, 30, 90, null)",
        "sse_stream.prune(30, null)",
    ):
        assert engine.refused(f"select {call}") == "22023", call
    assert partitions(engine, "raw_data.events_raw") == before


def test_a_reset_of_the_raw_data_leaves_the_facts(owner: Database, engine: Database) -> None:
    make_facts(4, 10).insert(engine)
    for offset in range(5):
        add_event(engine, offset, midnight(TODAY - timedelta(days=offset)))
    kept = {table: owner.run(f"select * from analytics.{table} order by 1") for table in FACTS}
    audited = owner.one("select count(*) from analytics.audit_log")

    assert engine.refused("truncate raw_data.events_raw") == "42501"
    owner.run("truncate raw_data.events_raw")
    assert owner.one("select count(*) from raw_data.events_raw") == 0
    for table, rows in kept.items():
        assert owner.run(f"select * from analytics.{table} order by 1") == rows
    assert owner.one("select count(*) from analytics.audit_log") == audited
    for offset in range(5):
        add_event(engine, offset, midnight(TODAY - timedelta(days=offset)))
    assert owner.one("select count(*) from raw_data.events_raw") == 5
