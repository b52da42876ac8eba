"""Connections, URLs and environment become the engine's settings."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from sse_stream import ConfigError
from sse_stream.hooks import airflow_database, environment_database, url_database


def _connection(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DB", json.dumps({"conn_type": "postgres", **fields}))


def test_an_airflow_connection_with_extras(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _connection(
        monkeypatch,
        host="h",
        login="u",
        password="p/@:",
        schema="d",
        extra={
            "sslmode": "verify-full",
            "sslrootcert": "/ca.pem",
            "options": "-c statement_timeout=5s",
            "connect_timeout": 3,
            "cursor": "dictcursor",
            "gssencmode": "disable",
        },
    )
    with caplog.at_level(logging.WARNING):
        assert airflow_database("db") == {
            "host": "h",
            "port": "5432",
            "user": "u",
            "password": "p/@:",
            "dbname": "d",
            "sslmode": "verify-full",
            "sslrootcert": "/ca.pem",
            "options": "-c statement_timeout=5s",
            "connect_timeout": "3",
        }
    assert "gssencmode" in caplog.text
    assert "cursor" not in caplog.text


def test_a_connection_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _connection(monkeypatch, conn_type="mysql", host="h")
    with pytest.raises(ConfigError, match="mysql"):
        airflow_database("db")


def test_iam_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _connection(monkeypatch, host="h", extra={"iam": True})
    with pytest.raises(ConfigError, match="iam"):
        airflow_database("db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss@h:7/d?sslmode=require",
        "postgres://u:p%40ss@h:7/d?sslmode=require",
        "postgresql+psycopg2://u:p%40ss@h:7/d?sslmode=require",
        "postgresql:///?host=h&port=7&user=u&password=p%40ss&dbname=d&sslmode=require",
    ],
)
def test_a_url(url: str) -> None:
    assert environment_database({"DATABASE_URL": url, "PGHOST": "other"}) == {
        "host": "h",
        "port": "7",
        "user": "u",
        "password": "p@ss",
        "dbname": "d",
        "sslmode": "require",
    }


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cret@h/d",
        "postgresql://u:s3cret@h:port/d",
        "postgresql://u:s3cret@h:99999/d",
        "postgresql://u:s3cret@h/d?sslmod=require",
        "s3cret",
    ],
)
def test_a_wrong_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        url_database(url, where="DATABASE_URL")
    assert "DATABASE_URL" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_libpqs_variables() -> None:
    assert environment_database(
        {
            "PGHOST": "h",
            "PGPORT": "7",
            "PGUSER": "u",
            "PGPASSWORD": "p",
            "PGDATABASE": "d",
            "PGSSLMODE": "disable",
        }
    ) == {
        "host": "h",
        "port": "7",
        "user": "u",
        "password": "p",
        "dbname": "d",
        "sslmode": "disable",
    }


def test_no_database_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        environment_database({"PGUSER": "u"})
