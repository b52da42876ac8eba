"""A database of its own with the restaurant schema, for tests of the schema.

Roles belong to the whole server and other tests may be logged in with them, so their passwords are
left alone: a test becomes a role with ``set session authorization``, which carries exactly that
role's rights.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
from psycopg2 import sql

from sse_stream import _native
from sse_stream.hooks import url_database
from sse_stream.presets import load_preset

ROOT = Path(__file__).resolve().parents[2]
PRESET = ROOT / "python" / "sse_stream" / "presets" / "restaurant"
BOOTSTRAP = ROOT / "docker" / "postgres"
ROLES = ("restaurant_owner", "restaurant_user", "analytics_reader", "airflow_user")

Row = tuple[Any, ...]


class Database:
    """One connection, as one role, to one database."""

    def __init__(self, dsn: str, role: str | None = None) -> None:
        self.dsn = dsn
        self.connection = psycopg2.connect(dsn)
        self.connection.autocommit = True
        if role is not None:
            statement = sql.SQL("set session authorization {}").format(sql.Identifier(role))
            self.run(statement)

    def run(self, statement: str | sql.Composable, *values: object) -> list[Row]:
        """Executes one statement, or a script without values; returns its last rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def one(self, statement: str | sql.Composable, *values: object) -> Any:
        """The single value of the single row of a query."""
        rows = self.run(statement, *values)
        assert len(rows) == 1, f"expected one row, got {len(rows)}"
        return rows[0][0]

    def refused(self, statement: str) -> str:
        """Executes a statement that must be refused; returns the error's SQLSTATE."""
        try:
            self.run(statement)
        except psycopg2.Error as error:
            if not self.connection.autocommit:
                self.connection.rollback()
            return str(error.pgcode)
        raise AssertionError(f"was allowed: {statement}")

    def close(self) -> None:
        self.connection.close()


def server_url() -> str:
    """The URL of a superuser on the server to test against."""
    url = os.environ.get("TEST_DATABASE_URL")
    assert url, (
        "TEST_DATABASE_URL is not set: give the URL of a superuser on a PostgreSQL that tests may "
        "use, or run the tests with make test"
    )
    return url


def with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def bootstrap_roles(server: Database) -> None:
    """Runs bootstrap.sql; only roles that do not exist yet get a password."""
    existing = {row[0] for row in server.run("select rolname from pg_roles")}
    for role in ROLES:
        if role not in existing:
            server.run(
                "select set_config(%s, %s, false)",
                f"bootstrap.{role}_password",
                secrets.token_urlsafe(24),
            )
    server.run((BOOTSTRAP / "bootstrap.sql").read_text())


def databases_script(names: dict[str, str]) -> str:
    """databases.sql with other names in place of its own."""
    script = (BOOTSTRAP / "databases.sql").read_text()
    for name, other in names.items():
        script = script.replace(f"'{name}'", f"'{other}'")
    return script


def apply_migrations(dsn: str) -> int:
    """Brings a database up to date as restaurant_owner; returns how many migrations it took."""
    database = url_database(dsn, where="TEST_DATABASE_URL")
    database["options"] = "-c role=restaurant_owner"
    preset = load_preset("restaurant")
    scripts = [(each.version, each.name, each.sql) for each in preset.migrations]
    return len(_native.migrate(json.dumps(database), preset.name, scripts))


@contextmanager
def restaurant_database() -> Iterator[str]:
    """A fresh, migrated database; yields its superuser URL and drops it afterwards."""
    url = server_url()
    suffix = secrets.token_hex(4)
    names = {"restaurant_analytics": f"schema_{suffix}", "airflow_db": f"schema_airflow_{suffix}"}
    server = Database(url)
    try:
        bootstrap_roles(server)
        for (statement,) in server.run(databases_script(names)):
            server.run(statement)
        dsn = with_database(url, names["restaurant_analytics"])
        extensions = Database(dsn)
        extensions.run((BOOTSTRAP / "extensions.sql").read_text())
        extensions.close()
        apply_migrations(dsn)
        yield dsn
    finally:
        for name in names.values():
            server.run(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )
        server.close()
