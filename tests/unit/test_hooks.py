"""Connections, URLs and environment become the engine's settings."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from sse_stream import ConfigError
from sse_stream.get_provider_info import FIELDS
from sse_stream.hooks import (
    airflow_database,
    airflow_source,
    environment_database,
    source_settings,
    url_database,
)


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


def _source(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps({"conn_type": "http", **fields}))


def test_a_connection_of_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    _source(
        monkeypatch,
        host="feed.test",
        port=8443,
        schema="https",
        login="ada",
        password="p:w",
        extra={
            "headers": {"X-Tenant": "7"},
            "ca_file": "/ca.pem",
            "client_cert": "/cert.pem",
            "client_key": "/key.pem",
        },
    )
    assert airflow_source("feed", "/a/stream?x=1") == {
        "url": "https://feed.test:8443/a/stream?x=1",
        "headers": {"X-Tenant": "7", "Authorization": "Basic YWRhOnA6dw=="},
        "ca_file": "/ca.pem",
        "client_cert": "/cert.pem",
        "client_key": "/key.pem",
    }
    assert airflow_source("feed", "http://other/stream")["url"] == "http://other/stream"


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "h"}, "http://h/s"),
        ({"host": "h", "conn_type": "https"}, "https://h/s"),
        ({"host": "https://h:1/base/"}, "https://h:1/base/s"),
    ],
)
def test_the_address_of_a_source(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], url: str
) -> None:
    _source(monkeypatch, **fields)
    assert airflow_source("feed", "/s") == {"url": url, "headers": {}}


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("http://h", 8443, "http://h:8443/s"),
        ("https://h/base/", 8443, "https://h:8443/base/s"),
        ("http://h:80", 8443, "http://h:80/s"),
        ("http://[::1]", 8443, "http://[::1]:8443/s"),
        ("h", 8443, "http://h:8443/s"),
        ("http://h", None, "http://h/s"),
    ],
)
def test_the_port_of_a_connection_counts_unless_its_host_has_one(
    monkeypatch: pytest.MonkeyPatch, host: str, port: int | None, address: str
) -> None:
    _source(monkeypatch, host=host, port=port)
    assert airflow_source("feed", "/s")["url"] == address


def test_a_password_alone_is_a_bearer_token(monkeypatch: pytest.MonkeyPatch) -> None:
    _source(monkeypatch, host="h", password="s3cret")
    assert airflow_source("feed", "/s")["headers"] == {"Authorization": "Bearer s3cret"}


def test_oauth_takes_login_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {
        "oauth_token_url": "https://auth.test/token",
        "oauth_scope": "read",
        "oauth_in_body": True,
        "proxy": "http://u:p@proxy.test:3128",
    }
    _source(monkeypatch, host="h", login="client", password="s3cret", extra=extra)
    assert airflow_source("feed", "/s") == {
        "url": "http://h/s",
        "headers": {},
        "proxy": "http://u:p@proxy.test:3128",
        "oauth": {
            "token_url": "https://auth.test/token",
            "scope": "read",
            "in_body": True,
            "client_id": "client",
            "client_secret": "s3cret",
        },
    }


def test_an_empty_field_of_the_form_was_not_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    _source(monkeypatch, host="h", password="p", extra=dict.fromkeys(FIELDS, ""))
    assert airflow_source("feed", "/s") == {
        "url": "http://h/s",
        "headers": {"Authorization": "Bearer p"},
    }


def test_the_headers_of_the_task_win_whatever_their_case(monkeypatch: pytest.MonkeyPatch) -> None:
    _source(monkeypatch, host="h", password="p", extra={"headers": {"X-A": "1", "X-B": "2"}})
    given = {"authorization": "Bearer own", "x-a": "3"}
    settings = source_settings("/s", conn_id="feed", headers=given)
    assert settings["headers"] == {"X-B": "2", **given}
    plain = source_settings("http://h/s", conn_id=None, headers=given)
    assert plain == {"url": "http://h/s", "headers": given}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "'feed' is not an http"),
        ({"host": "http://u:s3cret@h"}, "credentials"),
        ({"host": "ftp://h"}, "'feed' is not an http"),
        ({"host": "h", "extra": {"cafile": "/s3cret"}}, "cafile"),
        ({"host": "h", "extra": {"headers": {"X": ["s3cret"]}}}, "'X' is of type list"),
        ({"host": "h", "extra": {"headers": "s3cret"}}, "headers is not"),
        ({"host": "h", "extra": {"client_key": {"pem": "s3cret"}}}, "client_key"),
        ({"host": "h", "extra": {"proxy": "ftp://u:s3cret@p"}}, "proxy"),
        ({"host": "h", "extra": {"oauth_scope": "s3cret"}}, "lacks oauth_token_url"),
        ({"host": "h", "password": "s3cret", "extra": {"oauth_token_url": "http://a"}}, "login"),
        (
            {"host": "h", "login": "i", "password": "s3cret", "extra": {"oauth_token_url": "a"}},
            "oauth",
        ),
    ],
)
def test_a_wrong_connection_of_a_source_is_refused_without_quoting_it(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], words: str
) -> None:
    _source(monkeypatch, **fields)
    with pytest.raises(ConfigError, match=words) as caught:
        airflow_source("feed", "/s")
    assert "s3cret" not in str(caught.value)


def test_a_path_without_a_connection_is_refused() -> None:
    with pytest.raises(ConfigError, match="absolute"):
        source_settings("/stream", conn_id=None, headers={})
