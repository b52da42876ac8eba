"""Counted sales are what the facts say after any statement, and writers do not wait for each other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import psycopg2.errors
import pytest
from demo import rollups
from psycopg2.extras import RealDictCursor
from schema_database import Database, restaurant_database
from schema_rows import FACTS, insert, make_facts

PARTS = (
    "analytics.sales_by_minute_parts",
    "analytics.payments_by_minute_parts",
    "analytics.items_by_hour_parts",
)


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with restaurant_database() as dsn:
        yield dsn


@pytest.fixture(autouse=True)
def owner(dsn: str) -> Iterator[Database]:
    """The owner, in a database without rows."""
    database = Database(dsn, "restaurant_owner")
    database.run("truncate analytics.orders cascade")
    yield database
    database.close()


@pytest.fixture
def engine(dsn: str) -> Iterator[Database]:
    database = Database(dsn, "restaurant_user")
    yield database
    database.close()


def name_writer(database: Database, name: str) -> None:
    database.run("select set_config('sse_stream.writer', %s, false)", name)


def assert_counted(database: Database) -> None:
    """The views agree with facts counted in Python, and the check of the schema says the same."""
    facts = []
    for table in FACTS:
        with database.connection.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(f"select * from analytics.{table}")
            facts.append(cursor.fetchall())
    found = rollups.read(database.connection)
    assert list(rollups.differences(rollups.count(*facts), found)) == []
    assert database.run("select differing from analytics.check_rollups()") == [(0,)] * 3


def random_statement(rng: random.Random) -> str | None:
    """One statement that a person or the engine might run; None inserts more facts."""
    some = f"where abs(hashtext(order_id::text || '{rng.random()}')) % 5 = 0"
    return rng.choice(
        (
            None,
            f"update analytics.orders set total = subtotal + {rng.randint(0, 9)}, tip = 1 {some}",
            f"update analytics.orders set tip = null, location_code = 'moved' {some}",
            f"update analytics.orders set order_ts = order_ts + interval '61 s' {some}",
            f"update analytics.orders set service_type = 'takeout' {some}",
            f"update analytics.orders set total = total, location_code = location_code {some}",
            f"update analytics.order_items set qty = qty % 3 + 1, category = 'new' {some}",
            "update analytics.order_items set order_id ="
            f" (select max(order_id::text)::uuid from analytics.orders) {some}",
            f"update analytics.payments set amount = 7, method = 'cash' {some}",
            f"update analytics.payments set processed_at = processed_at - interval '1 day' {some}",
            f"update analytics.feedback set rating = 5, nps = null {some}",
            f"update analytics.feedback set created_ts = created_ts + interval '1 min' {some}",
            f"update analytics.feedback set order_id = null {some}",
            f"delete from analytics.orders {some}",
            f"delete from analytics.payments {some}",
            f"delete from analytics.order_items {some}",
            f"delete from analytics.feedback {some}",
            "truncate analytics.feedback, analytics.payments" if rng.random() < 0.2 else None,
            "truncate analytics.order_items" if rng.random() < 0.2 else None,
            "insert into analytics.orders select * from analytics.orders on conflict (order_id)"
            " do update set location_code = excluded.location_code || '+', total = 9.99",
            "insert into analytics.payments select * from analytics.payments"
            " on conflict (payment_id) do update set amount = excluded.amount + 1",
        )
    )


@pytest.mark.parametrize("seed", range(4))
def test_counts_follow_the_facts(owner: Database, seed: int) -> None:
    rng = random.Random(seed)
    make_facts(seed, 60).insert(owner)
    for step in range(25):
        # One session may undo what another one has counted.
        name_writer(owner, rng.choice(("", "restaurant#0.0", "restaurant#0.1")))
        statement = random_statement(rng)
        if statement is None:
            make_facts(1000 * (seed + 1) + step, 5).insert(owner)
        else:
            owner.run(statement)
        assert_counted(owner)
    assert owner.one("select count(*) from analytics.sales_by_minute") > 0


def test_what_is_rolled_back_was_not_counted(engine: Database, owner: Database) -> None:
    make_facts(1, 20).insert(engine)
    engine.connection.autocommit = False
    make_facts(2, 20).insert(engine)
    engine.connection.rollback()
    assert_counted(owner)
    assert owner.one("select sum(orders) from analytics.sales_by_day") == 20


def test_a_replay_adds_nothing_and_a_late_payment_corrects_the_minute_of_its_order(
    engine: Database, owner: Database
) -> None:
    facts = make_facts(3, 30, unpaid=1)
    facts.insert(engine)
    parts = [owner.run(f"select * from {table} order by 1, 2, 3, 4") for table in PARTS]
    for table in FACTS:
        insert(engine, table, getattr(facts, table), "on conflict do nothing")
    assert parts == [owner.run(f"select * from {table} order by 1, 2, 3, 4") for table in PARTS]
    at = facts.orders[0]["order_ts"].replace(second=0, microsecond=0)
    row = "select priced_orders, revenue, tips from analytics.sales_by_minute where minute = %s"
    assert owner.run(row, at) == [(0, 0, 0)]
    engine.run(
        "update analytics.orders set subtotal = 10, tax = 1.30, tip = 2, total = 13.30"
        " where order_id = %s",
        facts.orders[0]["order_id"],
    )
    assert [str(value) for value in owner.run(row, at)[0]] == ["1", "13.30", "2.00"]
    assert_counted(owner)


def test_writers_with_names_of_their_own_do_not_wait(dsn: str, owner: Database) -> None:
    sessions = [Database(dsn, "restaurant_user") for _ in range(3)]
    one, two, same = sessions
    for session, name in zip(sessions, ("s#0.0", "s#0.1", "s#0.0"), strict=True):
        name_writer(session, name)
        session.run("set lock_timeout = '500ms'")
        session.connection.autocommit = False
    # All in the same minutes, hours and sites, and in transactions that stay open.
    facts = [make_facts(seed, 40) for seed in (11, 12, 13)]
    for each in facts:
        for order in each.orders:
            order["order_ts"] = datetime(2026, 11, 2, 12, tzinfo=timezone.utc)
    facts[0].insert(one)
    facts[1].insert(two)
    assert two.one("select sum(orders) from analytics.sales_by_minute") == 40
    # What the names are for: without them they would wait.
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        insert(same, "orders", facts[2].orders)
    for session in (one, two):
        session.connection.commit()
    assert_counted(owner)
    writers = "select distinct writer from analytics.sales_by_minute_parts order by 1"
    assert owner.run(writers) == [("s#0.0",), ("s#0.1",)]
    for session in sessions:
        session.close()


def test_whoever_moves_an_order_waits_for_those_who_add_to_it(dsn: str, owner: Database) -> None:
    facts = make_facts(21, 1, unpaid=0)
    insert(owner, "orders", facts.orders)
    engine = Database(dsn, "restaurant_user")
    name_writer(engine, "s#0.0")
    engine.connection.autocommit = False
    insert(engine, "order_items", facts.order_items)
    owner.run("set lock_timeout = '300ms'")
    for statement in (
        "update analytics.orders set location_code = 'moved'",
        "delete from analytics.orders",
    ):
        assert owner.refused(statement) == "55P03", statement
    # What the engine itself changes moves nothing.
    owner.run("update analytics.orders set total = 5, tip = 1")
    engine.connection.commit()
    owner.run("update analytics.orders set location_code = 'moved'")
    assert_counted(owner)
    engine.close()


def test_orders_are_found_by_their_key_however_few_they_were_at_first(owner: Database) -> None:
    owner.connection.autocommit = False
    for table in ("order_items", "feedback"):
        # Its look-ups would count too.
        owner.run(f"alter table analytics.{table} drop constraint {table}_order_id_fkey")
    make_facts(30, 1).insert(owner)
    owner.run("analyze analytics.orders")
    # Planned here, on a table that the statistics call tiny, and used below.
    make_facts(31, 3).insert(owner)
    facts = make_facts(32, 300)
    insert(owner, "orders", facts.orders)
    reads = (
        "select seq_tup_read, idx_scan from pg_stat_xact_user_tables"
        " where relid = 'analytics.orders'::regclass"
    )
    [(scanned, looked_up)] = owner.run(reads)
    for table in ("order_items", "feedback"):
        insert(owner, table, getattr(facts, table))
    rows = len(facts.order_items) + len(facts.feedback)
    assert owner.run(reads) == [(scanned, looked_up + rows)]
    owner.connection.rollback()


@pytest.mark.parametrize(
    ("view", "column"), list(zip(rollups.VIEWS, ("orders", "amount", "revenue"), strict=True))
)
def test_a_wrong_count_is_found_and_mended(owner: Database, view: str, column: str) -> None:
    make_facts(41, 40).insert(owner)
    time = rollups.VIEWS[view][0]
    first = owner.one(f"select min({time}) from {view}")
    owner.run(f"update {view}_parts set {column} = {column} + 1 where {time} = %s", first)
    check = "select object_name from analytics.check_rollups(%s) where differing > 0"
    assert owner.run(check, "-infinity") == [(view,)]
    # Other hours are not looked at, and rebuilding them mends nothing.
    later = first + timedelta(hours=1)
    assert owner.run(check, later) == []
    owner.run("select analytics.rebuild_rollups(%s)", later)
    assert owner.run(check, "-infinity") == [(view,)]
    owner.run("select analytics.rebuild_rollups(%s, %s)", first, first + timedelta(minutes=1))
    assert_counted(owner)


def test_lost_counts_come_back(owner: Database) -> None:
    make_facts(42, 40).insert(owner)
    for table in PARTS:
        owner.run(f"truncate {table}")
    wrong = owner.run("select object_name from analytics.check_rollups() where differing > 0")
    assert wrong == [(view,) for view in rollups.VIEWS]
    rebuilt = owner.run("select object_name, removed from analytics.rebuild_rollups()")
    assert rebuilt == [(table, 0) for table in PARTS]
    assert_counted(owner)


def test_nothing_is_rebuilt_in_a_snapshot_that_may_be_old(dsn: str) -> None:
    owner = Database(dsn, "restaurant_owner")
    owner.connection.set_session(isolation_level="REPEATABLE READ", autocommit=False)
    assert owner.refused("select analytics.rebuild_rollups()") == "25001"
    owner.close()


def test_no_order_moves_or_goes_in_a_snapshot_that_may_be_old(dsn: str, owner: Database) -> None:
    make_facts(71, 3).insert(owner)
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        for statement in (
            "update analytics.orders set order_ts = order_ts + interval '1 hour'",
            "delete from analytics.orders",
        ):
            person = Database(dsn, "restaurant_owner")
            person.connection.set_session(isolation_level=level, autocommit=False)
            assert person.refused(statement) == "25001", (level, statement)
            person.close()
    assert_counted(owner)


def test_nobody_writes_the_counts_but_the_triggers(dsn: str, engine: Database) -> None:
    make_facts(51, 10).insert(engine)
    reader = Database(dsn, "analytics_reader")
    reader.run("set default_transaction_read_only to off")
    for database in (engine, reader):
        for table in PARTS:
            for statement in (
                f"delete from {table}",
                f"update {table} set writer = 'x'",
                f"insert into {table} select * from {table}",
                f"truncate {table}",
            ):
                assert database.refused(statement) == "42501", statement
        assert database.refused("select analytics.rebuild_rollups()") == "42501"
        assert database.one("select sum(orders) from analytics.sales_by_hour") == 10
        assert database.run("select differing from analytics.check_rollups()") == [(0,)] * 3
    reader.close()


def test_old_counts_go_and_their_facts_stay(owner: Database, engine: Database) -> None:
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    kept, gone = midnight - timedelta(days=400), midnight - timedelta(days=400, seconds=1)
    facts = make_facts(61, 2, unpaid=0)
    for order, payment, at in zip(facts.orders, facts.payments, (kept, gone), strict=True):
        order["order_ts"] = payment["processed_at"] = at
    facts.feedback.clear()
    facts.insert(engine)
    rows = engine.run("select * from analytics.apply_retention()")
    removed = {name: count for name, _, count in rows if name in PARTS}
    assert [removed[table] > 0 for table in PARTS] == [True] * 3
    assert owner.run("select minute, orders from analytics.sales_by_minute") == [(kept, 1)]
    assert owner.one("select count(*) from analytics.orders") == 2
    assert owner.run("select differing from analytics.check_rollups(%s)", kept) == [(0,)] * 3
