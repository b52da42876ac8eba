"""Views equal a recomputation in plain Python; checks report what is broken, and only that."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from schema_database import ROOT, Database, restaurant_database
from schema_rows import Facts, cents, make_facts

SITES = json.loads((ROOT / "tests" / "fixtures" / "sites.json").read_text())
ZONES = {site["code"]: ZoneInfo(site["time_zone"]) for site in SITES}


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with restaurant_database() as dsn:
        yield dsn


@pytest.fixture(autouse=True)
def owner(dsn: str) -> Iterator[Database]:
    """The owner, in a database without rows."""
    database = Database(dsn, "restaurant_owner")
    database.run("truncate analytics.orders cascade")
    database.run("truncate raw_data.events_raw")
    database.run("truncate sse_stream.offsets, sse_stream.dead_letters, sse_stream.runs")
    yield database
    database.close()


@pytest.fixture
def engine(dsn: str) -> Iterator[Database]:
    database = Database(dsn, "restaurant_user")
    # Days and hours must not depend on where the caller lives.
    database.run("set timezone to 'Asia/Kathmandu'")
    yield database
    database.close()


@pytest.fixture
def facts(engine: Database) -> Facts:
    facts = make_facts(20261120, 300)
    facts.insert(engine)
    engine.run("select analytics.refresh_views()")
    return facts


def grouped(rows: list[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def mean(values: list[Any]) -> Decimal:
    return cents(Decimal(sum(values)) / len(values))


def share(part: int, whole: int) -> Decimal:
    return cents(Decimal(100 * part) / whole)


def view(database: Database, name: str, keys: int) -> dict[Any, tuple[Any, ...]]:
    rows = database.run(f"select * from analytics.{name}")
    return {row[:keys] if keys > 1 else row[0]: row[keys:] for row in rows}


def paid(facts: Facts) -> list[dict[str, Any]]:
    return [order for order in facts.orders if order["total"] is not None]


def local_day(at: datetime, location: str) -> Any:
    return at.astimezone(ZONES.get(location, timezone.utc)).date()


def test_hourly_sales(engine: Database, facts: Facts) -> None:
    def hour(order: dict[str, Any]) -> Any:
        at = order["order_ts"].replace(minute=0, second=0, microsecond=0)
        return at, order["location_code"], order["service_type"]

    expected = {
        key: (
            len(rows),
            *(sum(row[money] for row in rows) for money in ("subtotal", "tax", "tip", "total")),
            mean([row["total"] for row in rows]),
        )
        for key, rows in grouped(paid(facts), hour).items()
    }
    assert view(engine, "hourly_sales", 3) == expected


def test_daily_sales(engine: Database, facts: Facts) -> None:
    groups = grouped(
        paid(facts),
        lambda o: (local_day(o["order_ts"], o["location_code"]), o["location_code"]),
    )
    expected = {
        key: (
            len(rows),
            sum(row["total"] for row in rows),
            mean([row["total"] for row in rows]),
            sum(row["tip"] for row in rows),
            mean([row["tip"] for row in rows]),
        )
        for key, rows in groups.items()
    }
    assert view(engine, "daily_sales", 2) == expected


def test_menu_performance(engine: Database, facts: Facts) -> None:
    ids = {order["order_id"] for order in paid(facts)}
    lines = [item for item in facts.order_items if item["order_id"] in ids]
    expected = {
        key: (
            len(rows),
            sum(row["qty"] for row in rows),
            sum(row["extended_price"] for row in rows),
            mean([row["unit_price"] for row in rows]),
            mean([row["extended_price"] for row in rows]),
        )
        for key, rows in grouped(lines, lambda i: (i["category"], i["item_name"])).items()
    }
    assert view(engine, "menu_performance", 2) == expected


def test_satisfaction_summary_and_nps(engine: Database, facts: Facts) -> None:
    site = {order["order_id"]: order["location_code"] for order in paid(facts)}
    answers = [
        row
        for row in facts.feedback
        if row["order_id"] in site and row["rating"] is not None and row["nps"] is not None
    ]
    expected = {}
    for day, rows in grouped(
        answers, lambda f: local_day(f["created_ts"], site[f["order_id"]])
    ).items():
        count = len(rows)
        promoters = sum(row["nps"] >= 9 for row in rows)
        detractors = sum(row["nps"] <= 6 for row in rows)
        expected[day] = (
            count,
            mean([row["rating"] for row in rows]),
            mean([row["nps"] for row in rows]),
            share(sum(row["rating"] >= 4 for row in rows), count),
            share(promoters, count),
            share(detractors, count),
            share(promoters - detractors, count),
        )
    assert view(engine, "satisfaction_summary", 1) == expected

    scores = [row["nps"] for row in facts.feedback if row["nps"] is not None]
    balance = sum(score >= 9 for score in scores) - sum(score <= 6 for score in scores)
    assert engine.one("select analytics.nps_score()") == share(balance, len(scores))
    assert engine.one("select analytics.nps_score(p_from => 'infinity')") is None


def test_feedback_of_a_deleted_order_still_counts(owner: Database, facts: Facts) -> None:
    count = "select sum(feedback_count) from analytics.satisfaction_summary"
    before = owner.one(count)
    owner.run("delete from analytics.orders where total is not null")
    assert owner.one(count) == before


def test_refresh_shows_what_came_since(engine: Database, facts: Facts) -> None:
    before = engine.one("select sum(order_count) from analytics.daily_sales")
    more = make_facts(7, 10, unpaid=0)
    more.insert(engine)
    assert engine.one("select sum(order_count) from analytics.daily_sales") == before
    engine.run("select analytics.refresh_views()")
    assert engine.one("select sum(order_count) from analytics.daily_sales") == before + 10


def test_order_metrics(engine: Database, owner: Database, facts: Facts) -> None:
    query = "select * from analytics.calculate_order_metrics(%s)"
    for order in facts.orders[:20]:
        lines = [item for item in facts.order_items if item["order_id"] == order["order_id"]]
        assert engine.run(query, order["order_id"]) == [
            (
                order["order_id"],
                len(lines),
                sum(line["qty"] for line in lines),
                sum(line["extended_price"] for line in lines),
            )
        ]
    owner.run("delete from analytics.order_items")
    first = facts.orders[0]["order_id"]
    assert engine.run(query, first) == [(first, 0, 0, Decimal("0.00"))]
    assert engine.run(query, "00000000-0000-0000-0000-000000000000") == []


def test_latest_offset_is_that_of_the_current_epoch(engine: Database) -> None:
    latest = "select analytics.get_latest_offset()"
    assert engine.one(latest) == 0
    insert = (
        "insert into sse_stream.offsets (stream, shard, epoch, position, high_water, highest, updated_at)"
        " values (%s, %s, %s, %s, %s, 9999, now() - make_interval(mins => %s))"
    )
    engine.run(insert, "restaurant", 0, "old", 900, 900, 10)
    assert engine.one(latest) == 900
    # A rewind lowers the position; what was committed stays committed.
    engine.run(insert, "restaurant", 1, "new", 3, 40, 1)
    engine.run(insert, "restaurant", 2, "new", 7, 30, 2)
    engine.run(insert, "another", 0, "new", 5000, 5000, 0)
    assert engine.one(latest) == 40
    assert engine.one("select analytics.get_latest_offset('another')") == 5000


OLD = "update analytics.orders set created_at = now() - interval '6 minutes'"
BREAKS = {
    "payment_total_mismatch": (
        "FAILED",
        1,
        "update analytics.payments set amount = amount + 0.02"
        " where payment_id = (select payment_id from analytics.payments limit 1)",
    ),
    "negative_order_amounts": (
        "FAILED",
        2,
        "update analytics.orders set tax = -0.01 where order_id in"
        " (select order_id from analytics.orders where total is not null limit 2)",
    ),
    "orders_without_items": (
        "WARNING",
        1,
        "delete from analytics.order_items where order_id ="
        f" (select order_id from analytics.orders limit 1); {OLD}",
    ),
    "orders_without_payment": (
        "WARNING",
        3,
        "delete from analytics.payments where payment_id in"
        f" (select payment_id from analytics.payments limit 3); {OLD}",
    ),
}


def validate(database: Database) -> dict[str, tuple[str, int]]:
    rows = database.run("select * from analytics.validate_data_consistency()")
    assert all(str(row[2]) in row[3] for row in rows)
    return {row[0]: (row[1], row[2]) for row in rows}


@pytest.mark.parametrize("check", BREAKS)
def test_a_broken_rule_is_reported_and_only_it(
    engine: Database, owner: Database, check: str
) -> None:
    make_facts(1, 50, unpaid=0).insert(engine)
    sound = validate(engine)
    assert set(sound.values()) == {("OK", 0)}
    status, failing, statement = BREAKS[check]
    owner.run(statement)
    assert validate(engine) == {**sound, check: (status, failing)}


def test_an_orphan_is_reported(engine: Database, owner: Database, dsn: str) -> None:
    make_facts(1, 5, unpaid=0).insert(engine)
    superuser = Database(dsn)
    # Foreign keys hold for everybody but a superuser who says otherwise.
    superuser.run("set session_replication_role to replica")
    superuser.run(
        "update analytics.order_items set order_id = gen_random_uuid() where order_item_id ="
        " (select order_item_id from analytics.order_items limit 1)"
    )
    superuser.close()
    assert validate(engine)["items_without_order"] == ("FAILED", 1)


def test_a_cent_apart_and_young_orders_are_sound(engine: Database, owner: Database) -> None:
    make_facts(1, 20, unpaid=1).insert(engine)
    owner.run("delete from analytics.order_items")
    assert set(validate(engine).values()) == {("OK", 0)}
    make_facts(2, 20, unpaid=0).insert(engine)
    owner.run("update analytics.payments set amount = amount + 0.01")
    assert set(validate(engine).values()) == {("OK", 0)}


def test_checks_can_be_limited_to_what_landed_lately(engine: Database, owner: Database) -> None:
    make_facts(1, 20, unpaid=0).insert(engine)
    owner.run("update analytics.orders set total = -1, created_at = now() - interval '2 days'")
    query = "select sum(failing) from analytics.validate_data_consistency(%s)"
    assert engine.one(query, datetime.now(timezone.utc) - timedelta(days=1)) == 0
    assert engine.one(query, datetime.now(timezone.utc) - timedelta(days=3)) > 0


def health(database: Database) -> dict[str, str]:
    return {row[0]: row[1] for row in database.run("select * from analytics.health_check()")}


def test_health_of_a_running_system(engine: Database, owner: Database) -> None:
    engine.run(
        "insert into sse_stream.offsets (stream, shard, epoch, last_heard_at)"
        " values ('restaurant', 0, 'e', now())"
    )
    engine.run(
        "insert into raw_data.events_raw"
        " (epoch, event_offset, event_id, event_type, ts, payload)"
        " values ('e', 1, gen_random_uuid(), 'order_created', now(), '{}')"
    )
    sound = health(engine)
    assert set(sound.values()) == {"OK"}, sound

    # Whoever asks with more rights than needed is told so.
    assert health(owner) == {**sound, "role": "WARNING"}

    engine.run("update sse_stream.offsets set last_heard_at = now() - interval '61 s'")
    assert health(engine) == {**sound, "stream": "WARNING"}
    engine.run("update sse_stream.offsets set last_heard_at = now()")

    engine.run(
        "insert into sse_stream.dead_letters (stream, reason_code, reason, raw)"
        " values ('restaurant', 'missing_parent', 'no order', 'x')"
    )
    assert health(engine) == {**sound, "dead letters": "WARNING"}
    owner.run("truncate sse_stream.dead_letters")

    engine.run(
        "insert into raw_data.events_raw"
        " (epoch, event_offset, event_id, event_type, ts, payload)"
        " values ('e', 2, gen_random_uuid(), 'order_created', now() - interval '90 days', '{}')"
    )
    assert health(engine) == {**sound, "default partition": "WARNING"}
    owner.run("truncate raw_data.events_raw")
    assert health(engine) == {**sound, "ingestion": "WARNING"}


def test_health_without_todays_partition(dsn: str, engine: Database, owner: Database) -> None:
    today = datetime.now(timezone.utc).date()
    tomorrow = today + timedelta(days=1)
    try:
        owner.run(f"drop table raw_data.events_raw_{tomorrow:%Y%m%d}")
        assert health(engine)["partitions of raw_data.events_raw"] == "WARNING"
        owner.run(f"drop table raw_data.events_raw_{today:%Y%m%d}")
        owner.run(f"drop table analytics.audit_log_{today:%Y%m%d}")
        assert health(engine)["partitions of raw_data.events_raw"] == "FAILED"
        assert health(engine)["partitions of analytics.audit_log"] == "FAILED"
    finally:
        owner.run("select raw_data.ensure_partitions()")
    assert health(engine)["partitions of raw_data.events_raw"] == "OK"
