"""Fixtures of the tests that need generator and database."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from operator_stage import Generator, connection
from psycopg2 import sql
from schema_database import (
    BOOTSTRAP,
    Database,
    bootstrap_roles,
    databases_script,
    server_url,
    with_database,
)

from sse_stream import operators
from sse_stream.__main__ import main


@pytest.fixture
def generator(tmp_path: Path) -> Iterator[Generator]:
    """A generator with all four event types at a good pace, kept in memory."""
    generator = Generator(tmp_path)
    generator.start("--events-per-second=2000")
    yield generator
    generator.kill()


@pytest.fixture
def restaurant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A fresh database, migrated by the command line; the connection acts as restaurant_user."""
    server = Database(server_url())
    suffix = secrets.token_hex(4)
    names = {"restaurant_analytics": f"operator_{suffix}", "airflow_db": f"operator_af_{suffix}"}
    try:
        bootstrap_roles(server)
        for (statement,) in server.run(databases_script(names)):
            server.run(statement)
        dsn = with_database(server_url(), names["restaurant_analytics"])
        database = Database(dsn)
        database.run((BOOTSTRAP / "extensions.sql").read_text())
        monkeypatch.setenv("DATABASE_URL", f"{dsn}?options=-c%20role%3Drestaurant_owner")
        assert main(["migrate", "--preset", "restaurant"]) == 0
        monkeypatch.delenv("DATABASE_URL")
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_RESTAURANT", connection(dsn))
        yield database
        database.close()
    finally:
        for name in names.values():
            statement = sql.SQL("drop database if exists {} with (force)")
            server.run(statement.format(sql.Identifier(name)))
        server.close()


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's Variables, in memory."""
    variables: dict[str, str] = {}
    monkeypatch.setattr(operators, "read_variable", variables.get)
    monkeypatch.setattr(operators, "write_variable", variables.__setitem__)
    return variables
