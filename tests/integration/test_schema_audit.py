"""The audit log rebuilds the facts exactly, names the actor and holds nothing but changes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from schema_database import Database, restaurant_database
from schema_rows import FACTS, insert, make_facts

# What the log says a table holds: the last entry of each row since the last truncation.
REBUILD = """
    select (jsonb_populate_record(null::analytics.{table}, last.new_values)).*
    from (
        select distinct on (a.record_id) a.operation, a.new_values
        from analytics.audit_log a
        where a.table_name = 'analytics.{table}' and a.record_id is not null
            and a.audit_id > (
                select coalesce(max(t.audit_id), 0) from analytics.audit_log t
                where t.table_name = a.table_name and t.operation = 'TRUNCATE')
        order by a.record_id, a.audit_id desc
    ) last
    where last.operation <> 'DELETE'
"""


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with restaurant_database() as dsn:
        yield dsn


@pytest.fixture(autouse=True)
def owner(dsn: str) -> Iterator[Database]:
    """The owner, in a database without rows."""
    database = Database(dsn, "restaurant_owner")
    database.run("truncate analytics.orders cascade")
    database.run("truncate analytics.audit_log")
    yield database
    database.close()


@pytest.fixture
def engine(dsn: str) -> Iterator[Database]:
    database = Database(dsn, "restaurant_user")
    yield database
    database.close()


def assert_rebuilt(database: Database) -> None:
    for table in FACTS:
        rebuild = REBUILD.format(table=table)
        key = FACTS[table]
        actual = database.run(f"select * from analytics.{table} order by {key}")
        assert database.run(f"select * from ({rebuild}) r order by {key}") == actual, table


def audit(database: Database, table: str) -> list[tuple[object, ...]]:
    return database.run(
        "select operation, record_id, old_values, new_values from analytics.audit_log"
        " where table_name = %s order by audit_id",
        f"analytics.{table}",
    )


def random_statement(rng: random.Random) -> str | None:
    """One statement that a person or the engine might run; None inserts more facts."""
    some = f"where abs(hashtext(order_id::text || '{rng.random()}')) % 5 = 0"
    return rng.choice(
        (
            None,
            f"update analytics.orders set total = total + {rng.randint(0, 1)} {some}",
            f"update analytics.orders set tip = null, location_code = 'moved' {some}",
            f"update analytics.orders set visit_id = visit_id {some}",
            f"update analytics.order_items set qty = qty % 3 + 1 {some}",
            f"update analytics.order_items set order_item_id = gen_random_uuid() {some}",
            f"update analytics.feedback set rating = 5, comment = 'it''s \"fine\" \u00e9' {some}",
            f"update analytics.feedback set created_ts = created_ts + interval '1 us' {some}",
            f"delete from analytics.orders {some}",
            f"delete from analytics.payments {some}",
            f"delete from analytics.order_items {some}",
            "truncate analytics.feedback" if rng.random() < 0.3 else None,
            "insert into analytics.payments select * from analytics.payments"
            " on conflict (payment_id) do update set amount = excluded.amount + 1",
        )
    )


@pytest.mark.parametrize("seed", range(5))
def test_replaying_the_log_rebuilds_every_fact_table(owner: Database, seed: int) -> None:
    rng = random.Random(seed)
    make_facts(seed, 60).insert(owner)
    for step in range(20):
        statement = random_statement(rng)
        if statement is None:
            make_facts(1000 * (seed + 1) + step, 5).insert(owner)
        else:
            owner.run(statement)
        assert_rebuilt(owner)
    assert owner.one("select count(*) from analytics.orders") > 0


def test_a_log_with_a_changed_entry_does_not_rebuild(owner: Database) -> None:
    make_facts(1, 5).insert(owner)
    owner.run(
        "update analytics.audit_log set new_values = new_values || '{\"qty\": 9}'"
        " where audit_id = (select max(audit_id) from analytics.audit_log"
        " where table_name = 'analytics.order_items')"
    )
    with pytest.raises(AssertionError, match="order_items"):
        assert_rebuilt(owner)


def test_a_replay_leaves_no_trace(engine: Database, owner: Database) -> None:
    facts = make_facts(2, 20)
    facts.insert(engine)
    before = owner.one("select count(*) from analytics.audit_log")
    assert before == sum(len(getattr(facts, table)) for table in FACTS)
    for table in FACTS:
        insert(engine, table, getattr(facts, table), "on conflict do nothing")
    engine.run("update analytics.orders set total = total, tip = tip")
    assert owner.one("select count(*) from analytics.audit_log") == before
    assert owner.one("select count(*) from analytics.orders where updated_at <> created_at") == 0


def test_an_order_that_arrives_complete_is_one_insert(engine: Database, owner: Database) -> None:
    facts = make_facts(3, 1, unpaid=0)
    facts.insert(engine)
    [(operation, record_id, old, new)] = audit(owner, "orders")
    assert (operation, record_id, old) == ("INSERT", facts.orders[0]["order_id"], None)
    assert isinstance(new, dict)
    assert new["location_code"] == facts.orders[0]["location_code"]


def test_a_payment_that_comes_later_is_an_update_with_both_values(
    engine: Database, owner: Database
) -> None:
    facts = make_facts(4, 1, unpaid=1)
    facts.insert(engine)
    engine.run("update analytics.orders set subtotal = 1, tax = 0.13, tip = 0, total = 1.13")
    [_, (operation, record_id, old, new)] = audit(owner, "orders")
    assert (operation, record_id) == ("UPDATE", facts.orders[0]["order_id"])
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    assert (old["total"], new["total"], new["tip"]) == (None, 1.13, 0.0)
    assert owner.one("select updated_at > created_at from analytics.orders")


def test_the_actor_is_the_login(engine: Database, owner: Database, dsn: str) -> None:
    make_facts(5, 1).insert(engine)
    superuser = Database(dsn)
    # Neither the role in force nor a function of the owner hides who it was.
    superuser.run("set role restaurant_owner")
    superuser.run("update analytics.orders set location_code = 'x'")
    actors = owner.run("select distinct operation, user_name from analytics.audit_log order by 1")
    login = superuser.one("select session_user::text")
    superuser.close()
    assert actors == [("INSERT", "restaurant_user"), ("UPDATE", login)]


def test_what_a_deletion_takes_along_is_audited_too(owner: Database) -> None:
    facts = make_facts(6, 30, unpaid=0)
    facts.insert(owner)
    order_id = facts.feedback[0]["order_id"]
    owner.run("delete from analytics.orders where order_id = %s", order_id)
    assert_rebuilt(owner)
    assert [entry[:2] for entry in audit(owner, "orders")[-1:]] == [("DELETE", order_id)]
    lines = [row for row in facts.order_items if row["order_id"] == order_id]
    items = [entry for entry in audit(owner, "order_items") if entry[0] == "DELETE"]
    assert {entry[1] for entry in items} == {row["order_item_id"] for row in lines}
    [(operation, record_id, old, new)] = audit(owner, "feedback")[len(facts.feedback) :]
    assert (operation, record_id) == ("UPDATE", facts.feedback[0]["feedback_id"])
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    assert (old["order_id"], new["order_id"]) == (order_id, None)


def test_a_changed_key_is_one_row_gone_and_one_come(owner: Database) -> None:
    facts = make_facts(7, 1, unpaid=0)
    facts.insert(owner)
    owner.run("update analytics.payments set payment_id = '00000000-0000-0000-0000-000000000001'")
    entries = {entry[:2] for entry in audit(owner, "payments")[1:]}
    assert entries == {
        ("DELETE", facts.payments[0]["payment_id"]),
        ("INSERT", "00000000-0000-0000-0000-000000000001"),
    }


def test_truncation_is_audited_with_its_size(owner: Database) -> None:
    facts = make_facts(8, 30)
    facts.insert(owner)
    owner.run("truncate analytics.orders cascade")
    assert_rebuilt(owner)
    rows = owner.run(
        "select table_name, (details ->> 'rows')::int from analytics.audit_log"
        " where operation = 'TRUNCATE'"
    )
    assert dict(rows) == {f"analytics.{table}": len(getattr(facts, table)) for table in FACTS}


def test_nobody_but_the_owner_touches_the_log(engine: Database, dsn: str) -> None:
    make_facts(9, 1).insert(engine)
    reader = Database(dsn, "analytics_reader")
    reader.run("set default_transaction_read_only to off")
    for database in (engine, reader):
        for statement in (
            "insert into analytics.audit_log (operation, table_name) values ('INSERT', 'x')",
            "update analytics.audit_log set user_name = 'x'",
            "delete from analytics.audit_log",
            "truncate analytics.audit_log",
            "alter table analytics.orders disable trigger all",
            "create trigger forged after insert on analytics.orders for each statement"
            " execute function analytics.audit_changes('order_id')",
        ):
            assert database.refused(statement) == "42501", statement
    reader.close()
