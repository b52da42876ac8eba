"""The schema as a whole: its shape, its preset, who may do what, and how it comes to be."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from schema_database import (
    BOOTSTRAP,
    PRESET,
    ROLES,
    ROOT,
    Database,
    apply_migrations,
    bootstrap_roles,
    databases_script,
    restaurant_database,
    server_url,
)
from schema_dump import dump_schema

from sse_stream.presets import load_preset

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DUMP = ROOT / "tests" / "fixtures" / "schema.sql"
FACTS = ("orders", "order_items", "payments", "feedback")
RELATIONS = """
    select n.nspname || '.' || c.relname
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('raw_data', 'analytics', 'staging', 'sse_stream')
        and c.relkind in ('r', 'p', 'v', 'm')
"""


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with restaurant_database() as dsn:
        yield dsn


@pytest.fixture
def superuser(dsn: str) -> Iterator[Database]:
    database = Database(dsn)
    yield database
    database.close()


def as_role(dsn: str, role: str) -> Database:
    return Database(dsn, role)


def test_the_schema_is_the_reviewed_one(superuser: Database) -> None:
    text = dump_schema(superuser)
    if os.environ.get("UPDATE_SCHEMA_DUMP"):
        DUMP.write_text(text)
    assert text == DUMP.read_text(), (
        "the migrations make another schema than tests/fixtures/schema.sql; if that is meant, "
        "run this test with UPDATE_SCHEMA_DUMP=1 and review the difference"
    )


def test_migrations_are_numbered_explained_and_applied_once(dsn: str) -> None:
    scripts = load_preset("restaurant").migrations
    assert [each.version for each in scripts] == list(range(1, len(scripts) + 1))
    for each in scripts:
        assert each.sql.startswith("-- "), f"{each.name} does not open with why"
        # Each runs as one script in a transaction of the runner, and not through psql.
        psql_only = r"(?im)^(begin;|commit|\\|create index concurrently)"
        assert not re.search(psql_only, each.sql), each.name
    assert apply_migrations(dsn) == 0


def test_migrations_run_as_the_owner_only(superuser: Database) -> None:
    first = (PRESET / "migrations" / "0001_schemas.sql").read_text()
    with pytest.raises(psycopg2.Error, match="run as restaurant_owner"):
        superuser.run(first)


# --- the preset ---


def routes() -> list[dict[str, Any]]:
    preset = tomllib.loads((PRESET / "preset.toml").read_text())
    return list(preset["route"])


def test_every_route_fits_its_table(superuser: Database) -> None:
    keys = superuser.run(
        "select conrelid::regclass::text, array_agg(a.attname::text order by a.attname::text)"
        " from pg_constraint k join pg_attribute a"
        "   on a.attrelid = k.conrelid and a.attnum = any (k.conkey)"
        " where contype in ('p', 'u') group by k.oid, conrelid"
    )
    parents = superuser.run(
        "select conrelid::regclass::text, confrelid::regclass::text from pg_constraint"
        " where contype = 'f'"
    )
    for route in routes():
        table = route["table"]
        columns = superuser.run(
            "select attname::text, attnotnull, atthasdef, attidentity <> '' from pg_attribute"
            " where attrelid = %s::regclass and attnum > 0",
            table,
        )
        names = {column[0] for column in columns}
        assert set(route["columns"]) <= names, table
        assert (table, sorted(route["key"])) in keys, table
        if "parent" in route:
            assert (table, route["parent"]) in parents, table
        if route["mode"] == "insert":
            needed = {name for name, required, default, _ in columns if required and not default}
            assert needed <= set(route["columns"]), table


def test_the_engine_may_write_what_the_routes_write(superuser: Database) -> None:
    for route in routes():
        for column in route["columns"]:
            wanted = ["INSERT", "SELECT"]
            if route["mode"] == "update":
                wanted = ["SELECT"] if column in route["key"] else ["UPDATE", "SELECT"]
            for privilege in wanted:
                assert superuser.one(
                    "select has_column_privilege('restaurant_user', %s, %s, %s)",
                    route["table"],
                    column,
                    privilege,
                ), (route["table"], column, privilege)


def test_locations_are_the_sites_of_the_generator(superuser: Database) -> None:
    sites = json.loads((ROOT / "tests" / "fixtures" / "sites.json").read_text())
    rows = superuser.run(
        "select location_code, name, city, latitude::float8, longitude::float8, time_zone"
        " from analytics.locations order by 1"
    )
    names = ("code", "name", "city", "latitude", "longitude", "time_zone")
    assert rows == sorted(tuple(site[name] for name in names) for site in sites)
    assert superuser.one(
        "select bool_and(time_zone in (select name from pg_timezone_names))"
        " from analytics.locations"
    )


def test_the_optional_index_serves_searches_in_payloads(dsn: str) -> None:
    owner = as_role(dsn, "restaurant_owner")
    owner.connection.autocommit = False
    owner.run((PRESET / "optional" / "payload_index.sql").read_text())
    owner.run(
        "insert into raw_data.events_raw (epoch, event_offset, event_id, event_type, ts, payload)"
        " select 'e', i, gen_random_uuid(), 'x', now(), jsonb_build_object('order_id', i)"
        " from generate_series(1, 5000) i"
    )
    owner.run("analyze raw_data.events_raw")
    search = "from raw_data.events_raw where payload @> '{\"order_id\": 4711}'"
    plan = "\n".join(row[0] for row in owner.run(f"explain select * {search}"))
    assert "payload_idx" in plan, plan
    assert owner.run(f"select event_offset {search}") == [(4711,)]
    owner.connection.rollback()
    owner.close()


# --- privileges ---


def expected_privileges(relation: str) -> dict[str, set[str]]:
    """What each role may do with a whole relation."""
    schema, name = relation.split(".")
    engine: set[str] = set()
    if relation == "raw_data.events_raw" or (schema == "analytics" and name in FACTS):
        engine = {"SELECT", "INSERT"}
    elif schema == "sse_stream":
        only_read = name in ("migrations", "streams")
        engine = {"SELECT"} if only_read else {"SELECT", "INSERT", "UPDATE"}
        # What waited leaves when its parent comes, and writers that a stream no longer has.
        engine |= {"DELETE"} if name in ("waiting", "offsets") else set()
    elif relation == "raw_data.events_raw_default" or (
        schema == "analytics" and not name.startswith("audit_log") and not name.endswith("_parts")
    ):
        engine = {"SELECT"}
    return {
        "restaurant_user": engine,
        "analytics_reader": {"SELECT"},
        "airflow_user": set(),
    }


def test_each_role_may_do_its_work_and_nothing_else(superuser: Database) -> None:
    relations = [row[0] for row in superuser.run(RELATIONS)]
    assert len(relations) > 25
    kinds = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    for relation in relations:
        for role, expected in expected_privileges(relation).items():
            actual = {
                kind
                for kind in kinds
                if superuser.one("select has_table_privilege(%s, %s, %s)", role, relation, kind)
            }
            assert actual == expected, (role, relation)


def test_the_engine_updates_nothing_but_the_money_of_orders(superuser: Database) -> None:
    columns = superuser.run(
        "select n.nspname || '.' || c.relname, a.attname::text"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0"
        " where n.nspname in ('raw_data', 'analytics') and c.relkind in ('r', 'p')"
        " and has_column_privilege('restaurant_user', c.oid, a.attnum, 'UPDATE')"
    )
    money = ("subtotal", "tax", "tip", "total")
    assert set(columns) == {("analytics.orders", name) for name in money}


def test_schemas_and_database(superuser: Database) -> None:
    def may(role: str, what: str, name: str) -> set[str]:
        kinds = ("USAGE", "CREATE") if what == "schema" else ("CONNECT", "CREATE", "TEMPORARY")
        query = f"select has_{what}_privilege(%s, %s, %s)"
        return {kind for kind in kinds if superuser.one(query, role, name, kind)}

    database = superuser.one("select current_database()::text")
    assert may("restaurant_user", "database", database) == {"CONNECT", "TEMPORARY"}
    assert may("analytics_reader", "database", database) == {"CONNECT"}
    assert may("airflow_user", "database", database) == set()
    for schema in ("raw_data", "analytics", "sse_stream", "staging", "public"):
        assert may("airflow_user", "schema", schema) == set()
        engine = set() if schema == "public" else {"USAGE"}
        assert may("restaurant_user", "schema", schema) == engine
        reader = set() if schema in ("public", "staging") else {"USAGE"}
        assert may("analytics_reader", "schema", schema) == reader


def test_functions_are_pinned_and_executed_by_those_who_need_them(superuser: Database) -> None:
    rows = superuser.run(
        "select n.nspname || '.' || p.proname, p.prosecdef, p.proconfig::text,"
        " has_function_privilege('restaurant_user', p.oid, 'execute'),"
        " has_function_privilege('analytics_reader', p.oid, 'execute'),"
        " has_function_privilege('airflow_user', p.oid, 'execute'),"
        " p.proowner::regrole::text"
        " from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname in ('raw_data', 'analytics', 'staging', 'sse_stream')"
    )
    for name, _, config, _, _, airflow, owner in rows:
        assert "search_path=pg_catalog, pg_temp" in str(config), name
        assert not airflow, name
        assert owner == "restaurant_owner", name
    assert {row[0] for row in rows if row[1]} == {
        "analytics.audit_changes",
        "analytics.apply_retention",
        "analytics.refresh_views",
        "analytics.roll_up_alone",
        "analytics.roll_up_anew",
        "analytics.roll_up_feedback",
        "analytics.roll_up_move",
        "analytics.roll_up_order_items",
        "analytics.roll_up_orders",
        "analytics.roll_up_payments",
        "raw_data.drop_old_partitions",
        "raw_data.ensure_partitions",
        "sse_stream.prune",
    }
    asked = {
        "analytics.calculate_order_metrics",
        "analytics.check_rollups",
        "analytics.count_items",
        "analytics.count_payments",
        "analytics.count_sales",
        "analytics.get_latest_offset",
        "analytics.health_check",
        "analytics.nps_score",
        "analytics.validate_data_consistency",
    }
    assert {row[0] for row in rows if row[4]} == asked
    assert {row[0] for row in rows if row[3]} == asked | {
        "analytics.apply_retention",
        "analytics.refresh_views",
        "raw_data.drop_old_partitions",
        "raw_data.ensure_partitions",
        "sse_stream.prune",
    }


DDL = (
    "create table raw_data.mine (id int)",
    "create table analytics.mine (id int)",
    "create table staging.mine (id int)",
    "create table public.mine (id int)",
    "create schema mine",
    "create function public.f() returns int language sql as 'select 1'",
    "drop table raw_data.events_raw_default",
    "alter table analytics.orders add column mine int",
    "create index on analytics.orders (tip)",
    "refresh materialized view analytics.daily_sales",
    "select raw_data.add_day_partition('raw_data.events_raw', '2026-01-01')",
    "select raw_data.drop_days_before('analytics.audit_log', '2100-01-01')",
)


@pytest.mark.parametrize("role", ["restaurant_user", "analytics_reader"])
def test_ddl_is_refused(dsn: str, role: str) -> None:
    database = as_role(dsn, role)
    database.run("set default_transaction_read_only to off")
    for statement in DDL:
        assert database.refused(statement) == "42501", statement
    database.close()


def test_the_engine_works_and_cannot_rewrite_history(dsn: str) -> None:
    engine = as_role(dsn, "restaurant_user")
    engine.run("create temporary table arrived (like analytics.orders)")
    for statement in (
        "update analytics.orders set order_ts = now()",
        "update analytics.payments set amount = 1",
        "delete from analytics.orders",
        "truncate analytics.orders",
        "delete from raw_data.events_raw",
        "update raw_data.events_raw set payload = '{}'",
        "delete from sse_stream.dead_letters",
        "delete from sse_stream.gaps",
        "update analytics.locations set city = 'x'",
        "insert into sse_stream.migrations (owner, version, name, checksum)"
        " values ('x', 1, 'x', '')",
    ):
        assert engine.refused(statement) == "42501", statement
    engine.close()


def test_the_reader_reads_also_what_comes_later_but_not_staging(dsn: str) -> None:
    owner = as_role(dsn, "restaurant_owner")
    owner.run("create table analytics.later (id int)")
    owner.run("create table staging.work (id int)")
    reader, engine = as_role(dsn, "analytics_reader"), as_role(dsn, "restaurant_user")
    reader.run("set default_transaction_read_only to off")
    assert reader.run("select * from analytics.later") == []
    assert reader.refused("insert into analytics.later values (1)") == "42501"
    assert reader.refused("select * from staging.work") == "42501"
    engine.run("insert into staging.work values (1)")
    engine.run("truncate staging.work")
    assert engine.refused("drop table staging.work") == "42501"
    for database in (reader, engine):
        database.close()
    owner.run("drop table analytics.later, staging.work")
    owner.close()


# --- bootstrap ---


def renamed(text: str, suffix: str) -> str:
    for role in ROLES:
        text = text.replace(role, f"{role}_{suffix}")
    return text


def login(role: str, password: str, database: str) -> None:
    parts = urlsplit(server_url())
    place = f"{parts.hostname}:{parts.port or 5432}"
    url = parts._replace(netloc=f"{role}:{password}@{place}", path=f"/{database}")
    psycopg2.connect(urlunsplit(url)).close()


def test_bootstrap_makes_roles_and_databases_and_may_be_repeated() -> None:
    # Under other names, since the real roles may be in use by other tests.
    suffix = secrets.token_hex(4)
    roles = {role: f"{role}_{suffix}" for role in ROLES}
    names = {"restaurant_analytics": f"boot_{suffix}", "airflow_db": f"boot_airflow_{suffix}"}
    script = renamed((BOOTSTRAP / "bootstrap.sql").read_text(), suffix)
    databases = renamed(databases_script(names), suffix)
    passwords = {role: secrets.token_urlsafe(16) for role in roles.values()}
    server = Database(server_url())
    try:
        with pytest.raises(psycopg2.Error, match=f"role restaurant_owner_{suffix} has no password"):
            server.run(script)
        for role, password in passwords.items():
            server.run("select set_config(%s, %s, false)", f"bootstrap.{role}_password", password)
        server.run(script)
        for (statement,) in server.run(databases):
            server.run(statement)

        again = Database(server_url())
        again.run(script)
        for (statement,) in again.run(databases):
            assert "create database" not in statement
            again.run(statement)
        again.close()

        rows = server.run(
            "select rolname, rolpassword like 'SCRAM-SHA-256$%%', rolcanlogin,"
            " rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls,"
            " rolconnlimit > 0"
            " from pg_authid where rolname = any (%s) order by 1",
            list(roles.values()),
        )
        assert rows == [(role, True, True, False, True) for role in sorted(roles.values())]

        analytics, airflow = names["restaurant_analytics"], names["airflow_db"]
        owner, user = roles["restaurant_owner"], roles["airflow_user"]
        login(owner, passwords[owner], analytics)
        login(user, passwords[user], airflow)
        for role, database in ((user, analytics), (owner, airflow)):
            with pytest.raises(psycopg2.OperationalError, match="permission denied"):
                login(role, passwords[role], database)
    finally:
        for name in names.values():
            server.run(f"drop database if exists {name} with (force)")
        for role in roles.values():
            server.run(f"drop role if exists {role}")
        server.close()


def test_bootstrap_keeps_passwords_that_it_is_not_given(superuser: Database) -> None:
    query = "select rolname, rolpassword from pg_authid where rolname = any (%s) order by 1"
    before = superuser.run(query, list(ROLES))
    bootstrap_roles(superuser)
    assert superuser.run(query, list(ROLES)) == before
    assert len(before) == len(ROLES)


def test_nothing_names_a_password() -> None:
    for path in (*BOOTSTRAP.glob("*.sql"), *Path(PRESET).rglob("*.sql")):
        assert not re.search(r"password\s+'[^']+'", path.read_text()), path.name
