"""What the roles cannot do, tried for real on every relation and function that the catalog holds.

test_schema.py compares what is granted; here each role tries, and afterwards nothing has changed.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pytest
from psycopg2 import sql
from schema_database import Database, restaurant_database
from schema_dump import dump_schema

READER, ENGINE = "analytics_reader", "restaurant_user"
REFUSED = "42501"
# A view is no table: PostgreSQL says so before it asks who wants it.
NOT_A_TABLE = {"55000", "42809", "0A000"}
RELATIONS = """
    select n.nspname, c.relname, c.relkind::text,
        (select a.attname from pg_attribute a
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            and a.attgenerated = '' and a.attidentity <> 'a'
         order by a.attnum limit 1)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^(pg_|information_schema)' and c.relkind in ('r', 'p', 'v', 'm', 'f')
    order by 1, 2
"""
DEFINERS = """
    select p.oid::regprocedure::text,
        format('select %s(%s)', p.oid::regproc,
            (select string_agg(format('null::%s', t::regtype), ', ' order by position)
             from unnest(p.proargtypes) with ordinality as types (t, position)))
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where p.prosecdef and n.nspname !~ '^(pg_|information_schema)'
    order by 1
"""
# What the owner does for the engine.
FOR_THE_ENGINE = {
    "analytics.apply_retention(integer,integer,integer,integer,integer)",
    "analytics.refresh_views()",
    "raw_data.drop_old_partitions(integer)",
    "raw_data.ensure_partitions(integer,integer)",
    "sse_stream.prune(integer,integer)",
}
SECRETS = [
    "select rolpassword from pg_authid",
    "select passwd from pg_shadow",
    "select * from pg_hba_file_rules",
    "select * from pg_file_settings",
    "select pg_read_file('postgresql.conf')",
    "select pg_read_binary_file('global/pg_control')",
    "select pg_ls_dir('.')",
    "select pg_ls_logdir()",
    "select * from pg_largeobject",
    "select lo_import('/etc/passwd')",
    "set default_transaction_read_only to off; select lo_from_bytea(0, 'mine')",
    "set default_transaction_read_only to off; select lo_create(0)",
    "select umoptions from pg_user_mapping",
    "copy (select 1) to '/tmp/role-was-here'",
    "copy (select 1) to program 'true'",
    "create temporary table taken (line text); copy taken from '/etc/passwd'",
    "create temporary table run (line text); copy run from program 'id'",
]
POWERS = [
    "create schema mine",
    "create database mine",
    "create role mine",
    f"alter role {ENGINE} superuser",
    f"alter role {READER} createdb",
    "alter role postgres password 'mine'",
    "set role restaurant_owner",
    "set role airflow_user",
    "set role pg_read_all_data",
    "grant restaurant_owner to current_user",
    "grant pg_read_all_settings to current_user",
    "alter system set work_mem = '1GB'",
    "select pg_reload_conf()",
    "select pg_switch_wal()",
    "create extension plpython3u",
    "create language plpythonu handler plpgsql_call_handler",
    "create event trigger mine on ddl_command_start execute function analytics.refresh_views()",
    "create publication mine for all tables",
    "create tablespace mine location '/tmp'",
    "alter default privileges for role restaurant_owner grant all on tables to public",
    "set session_replication_role to replica",
    "reassign owned by restaurant_owner to current_user",
    "drop owned by restaurant_owner",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres'",
]


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with restaurant_database() as dsn:
        yield dsn


@pytest.fixture
def superuser(dsn: str) -> Iterator[Database]:
    database = Database(dsn)
    yield database
    database.close()


@pytest.fixture(params=[READER, ENGINE])
def role(request: pytest.FixtureRequest, dsn: str) -> Iterator[Database]:
    database = _as(dsn, request.param)
    yield database
    database.close()


def _as(dsn: str, role: str) -> Database:
    database = Database(dsn, role)
    # A default of the login, which it may change itself: no protection.
    database.run("set default_transaction_read_only to off")
    return database


def _contents(superuser: Database) -> tuple[object, ...]:
    """The whole schema with its privileges, and the size of every table."""
    sizes = []
    for schema, name, kind, _ in superuser.run(RELATIONS):
        if kind in "rpm":
            count = sql.SQL("select count(*) from {}").format(sql.Identifier(schema, name))
            sizes.append((schema, name, superuser.one(count)))
    return dump_schema(superuser), sizes


def _code(database: Database, statement: str | sql.Composable) -> str:
    """The SQLSTATE with which a statement fails; empty if it does not."""
    try:
        database.run(statement)
    except psycopg2.Error as error:
        return str(error.pgcode)
    return ""


def _attempts(
    relations: list[tuple[str, str, str, str]], shapes: list[str]
) -> Iterator[tuple[sql.Composable, set[str]]]:
    """Each shape of statement for each relation, and the codes that count as a refusal."""
    for schema, name, kind, column in relations:
        for shape in shapes:
            kinds = {"v": "view", "m": "materialized view", "f": "foreign table"}
            statement = sql.SQL(shape).format(
                kind=sql.SQL(kinds.get(kind, "table")),
                name=sql.Identifier(schema, name),
                column=sql.Identifier(column),
            )
            yield statement, {REFUSED} | (NOT_A_TABLE if kind in "vm" else set())


CHANGES_OF_ROWS = [
    "insert into {name} default values",
    "update {name} set {column} = {column}",
    "delete from {name}",
    "select * from {name} for update",
    "do $do$ begin lock table {name} in row exclusive mode; end $do$",
]
CHANGES_OF_TABLES = [
    "truncate {name} cascade",
    "drop {kind} {name} cascade",
    "alter {kind} {name} rename to mine",
    "alter {kind} {name} owner to current_user",
    "alter table {name} add column mine text",
    "alter table {name} alter column {column} type text",
    "alter table {name} disable trigger all",
    "create index on {name} ({column})",
    "create trigger mine before insert on {name} for each row execute function pg_catalog.suppress_redundant_updates_trigger()",
    "create rule mine as on insert to {name} do instead nothing",
    "comment on column {name}.{column} is 'mine'",
]


def test_a_reader_reads_and_changes_no_row_anywhere(dsn: str, superuser: Database) -> None:
    before = _contents(superuser)
    relations = superuser.run(RELATIONS)
    assert len(relations) > 20, relations
    reader = _as(dsn, READER)
    readable = [each for each in relations if each[0] in ("raw_data", "analytics", "sse_stream")]
    for schema, name, *_ in readable:
        reader.run(sql.SQL("select * from {} limit 1").format(sql.Identifier(schema, name)))
    for statement, codes in _attempts(relations, CHANGES_OF_ROWS):
        assert _code(reader, statement) in codes, statement.as_string(reader.connection)
    sequences = superuser.run("select schemaname, sequencename from pg_sequences")
    assert sequences
    for schema, name in sequences:
        for call in (f"nextval('{schema}.{name}')", f"setval('{schema}.{name}', 9)"):
            assert reader.refused(f"select {call}") == REFUSED
    assert reader.refused("create temporary table mine (i int)") == REFUSED
    reader.close()
    assert _contents(superuser) == before


def test_the_engine_deletes_nothing_and_updates_only_what_it_must(
    dsn: str, superuser: Database
) -> None:
    before = _contents(superuser)
    engine = _as(dsn, ENGINE)
    for schema, name, kind, _ in superuser.run(RELATIONS):
        books = schema == "sse_stream" and name != "migrations"
        target = sql.Identifier(schema, name)
        if name not in ("waiting", "offsets"):
            code = _code(engine, sql.SQL("delete from {}").format(target))
            assert code in {REFUSED, *(NOT_A_TABLE if kind in "vm" else ())}, (schema, name)
        if books or kind in "vm":
            continue
        for (column,) in superuser.run(
            "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0"
            " and not attisdropped and attgenerated = '' and attidentity <> 'a'",
            f"{schema}.{name}",
        ):
            if name == "orders" and column in ("subtotal", "tax", "tip", "total"):
                continue
            statement = sql.SQL("update {} set {} = null").format(target, sql.Identifier(column))
            assert _code(engine, statement) == REFUSED, (schema, name, column)
    engine.close()
    assert _contents(superuser) == before


def test_neither_drops_alters_truncates_or_creates(role: Database, superuser: Database) -> None:
    before = _contents(superuser)
    for statement, codes in _attempts(superuser.run(RELATIONS), CHANGES_OF_TABLES):
        assert _code(role, statement) in codes, statement.as_string(role.connection)
    for (schema,) in superuser.run("select nspname from pg_namespace where nspname !~ '^pg_t'"):
        place = sql.Identifier(schema)
        for shape in (
            "create table {}.mine (i int)",
            "create view {}.mine as select 1",
            "create function {}.mine() returns int language sql as 'select 1'",
            "create type {}.mine as enum ('a')",
            "create sequence {}.mine",
            "drop schema {} cascade",
            "alter schema {} owner to current_user",
        ):
            assert _code(role, sql.SQL(shape).format(place)) == REFUSED, (schema, shape)
    assert _contents(superuser) == before


def test_neither_takes_more_power(role: Database, superuser: Database) -> None:
    before = _contents(superuser)
    for statement in POWERS:
        assert role.refused(statement) in {REFUSED, "0A000", "58P01", "42704"}, statement
    # A privilege that one holds without the option to grant it is passed on to nobody.
    for name in ("analytics.orders", "sse_stream.offsets"):
        _code(role, f"grant select on {name} to airflow_user")
    assert _contents(superuser) == before
    memberships = superuser.run(
        "select r.rolname from pg_auth_members m join pg_roles r on r.oid = m.member"
        " where r.rolname = any(%s)",
        [READER, ENGINE],
    )
    assert memberships == []


def test_neither_reads_secrets(role: Database, superuser: Database) -> None:
    for statement in SECRETS:
        assert role.refused(statement) == REFUSED, statement
    # What others run may hold a password; it is not shown.
    superuser.run("select set_config('bootstrap.restaurant_user_password', 's3cret-pw', false)")
    seen = repr(role.run("select query from pg_stat_activity"))
    assert "insufficient privilege" in seen
    assert "s3cret-pw" not in seen
    assert role.one("select current_setting('bootstrap.restaurant_user_password', true)") in (
        None,
        "",
    )
    # Who else lives on this server is out of reach: Airflow's database with its connections.
    for (database,) in superuser.run(
        "select datname from pg_database d join pg_roles r on r.oid = d.datdba"
        " where r.rolname = 'airflow_user'"
    ):
        for privilege in ("connect", "temporary", "create"):
            assert not role.one("select has_database_privilege(%s, %s)", database, privilege), (
                database
            )
    others = role.run(
        "select nspname from pg_namespace where nspname !~ '^(pg_|information_schema)'"
        " and has_schema_privilege(nspname, 'usage')"
    )
    expected = {"raw_data", "analytics", "sse_stream", "public"}
    who = role.one("select session_user")
    assert {name for (name,) in others} <= expected | ({"staging"} if who == ENGINE else set())


def test_functions_with_the_owners_rights_are_for_those_they_are_made_for(
    role: Database, superuser: Database
) -> None:
    functions = superuser.run(DEFINERS)
    assert {name for name, _ in functions} > FOR_THE_ENGINE
    allowed = FOR_THE_ENGINE if role.one("select session_user") == ENGINE else set()
    for name, call in functions:
        if name not in allowed:
            assert _code(role, call) == REFUSED, name
        else:
            assert _code(role, call) != REFUSED, name
