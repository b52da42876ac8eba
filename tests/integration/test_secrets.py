"""No log, no exception, no output holds a secret: runs that fail in every way, then a search.

Everything is logged that can be, Airflow's own masking of secrets is off, and the source says back
what it was told.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from airflow.utils.log.secrets_masker import SecretsMasker
from haystack import Haystack
from leaky_source import LeakySource, leaky_source
from schema_database import ROOT, Database
from tests.certificates import identity

from sse_stream import (
    ConfigError,
    SSEStreamError,
    SSEStreamOperator,
    SSEStreamSensor,
    _native,
    event_processor,
)
from sse_stream.__main__ import main
from sse_stream.hooks import airflow_database, airflow_source, url_database
from sse_stream.presets import load_preset

SECRETS = {
    "database password": "dBpä55/w0rd+&%1",
    "basic password": "bA51c/p4ss+ü%2w",
    "bearer token": "t0keN-7f3a9c/x+y=z",
    "cookie": "c00k1e-51d8aa%2Fq",
    "api key": "4p1-k3y+9b/77f0",
    "query credential": "qU3ry/cr3d+&=é%3",
    "payload": "g4st-N4me/Müller+%4",
}
HEADERS = {
    "Authorization": f"Bearer {SECRETS['bearer token']}",
    "Cookie": f"session={SECRETS['cookie']}",
    "X-Feed-Thing": SECRETS["api key"],
}
QUERY = f"key={quote(SECRETS['query credential'], safe='')}"
BASIC = f"ada:{quote(SECRETS['basic password'], safe='')}"


@pytest.fixture
def haystack(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Haystack]:
    """Everything that a test makes anybody say; at its end no secret is among it."""
    monkeypatch.setattr(SecretsMasker, "filter", lambda self, record: True)
    haystack = Haystack()
    loggers = [logging.getLogger(name) for name in ("", "airflow.task", "airflow.task.sse_stream")]
    before = [(logger, logger.level, logger.propagate, logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.setLevel(1)
        logger.disabled = False
        if logger.name != "root":
            logger.propagate = True
    loggers[0].addHandler(haystack)
    yield haystack
    loggers[0].removeHandler(haystack)
    for logger, level, propagate, disabled in before:
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
    haystack.add(*capfd.readouterr())
    assert haystack.secrets(SECRETS) == []


@pytest.fixture
def source() -> Iterator[LeakySource]:
    with leaky_source() as there, leaky_source(there.url) as here:
        here.blocks = ["event: hello\ndata: {}"]
        yield here


def _database_connection(dsn: str, password: str | None = None, **extra: Any) -> str:
    parts = urlsplit(dsn)
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": parts.hostname,
            "port": parts.port,
            "login": parts.username,
            "password": parts.password if password is None else password,
            "schema": parts.path.lstrip("/"),
            "extra": extra,
        }
    )


def _operate(haystack: Haystack, expected: str, url: str, **arguments: Any) -> None:
    """Make and run the operator, one of which must fail with an error that says ``expected``."""

    def make_and_run() -> None:
        operator = SSEStreamOperator(
            task_id="ingest",
            sse_url=url,
            timeout_seconds=1.5,
            offset_variable=None,
            **{"headers": HEADERS, **arguments},
        )
        haystack.add(repr(operator), str(operator))
        operator.execute({})

    with pytest.raises(Exception, match=expected) as caught:
        make_and_run()
    haystack.add_exception(caught.value)


def _look(haystack: Haystack, url: str, **arguments: Any) -> None:
    """Look at a source that is not healthy."""
    sensor = SSEStreamSensor(task_id="wait", sse_url=url, **{"headers": HEADERS, **arguments})
    haystack.add(repr(sensor))
    assert sensor.poke({}) is False


def test_the_search_finds_what_is_there() -> None:
    for name, secret in SECRETS.items():
        for dressed in (
            secret,
            f"connecting to postgresql://u:{quote(secret, safe='')}@h",
            repr({"password": secret}),
            json.dumps(secret),
            str(secret.encode()),
            secret.encode().hex(),
            "Basic " + base64.b64encode(f"ada:{secret}".encode()).decode(),
            "Basic " + base64.b64encode(f"u:{secret}".encode()).decode(),
        ):
            haystack = Haystack()
            haystack.add("nothing", dressed)
            assert haystack.secrets(SECRETS), (name, dressed)
    haystack = Haystack()
    try:
        try:
            raise ValueError(SECRETS["cookie"])
        except ValueError:
            raise ConfigError("hidden behind another") from None
    except ConfigError as error:
        haystack.add_exception(error)
    assert haystack.secrets(SECRETS)


def test_a_database_that_cannot_be_used(
    haystack: Haystack,
    restaurant: Database,
    source: LeakySource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dsn, secret = restaurant.dsn, SECRETS["database password"]
    files = identity(tmp_path, "client")
    key, cert = Path(files["client_key"]).read_text(), files["client_cert"]
    body = key.splitlines()[1]
    nowhere = dsn.replace(f":{urlsplit(dsn).port}/", ":1/")
    for expected, connection in (
        ("password", _database_connection(dsn, secret)),
        ("cannot connect", _database_connection(nowhere, secret)),
        (
            "certificate|does not support TLS",
            _database_connection(dsn, secret, sslmode="verify-full"),
        ),
        ("sslkey", _database_connection(dsn, secret, sslmode="require", sslcert=cert, sslkey=key)),
        ("sslmode", _database_connection(dsn, secret, sslmode="on")),
        ("malformed|number", _database_connection(dsn, secret, connect_timeout="soon")),
        ("port", json.dumps({"conn_type": "postgres", "password": secret, "port": 70000})),
        ("type", json.dumps({"conn_type": "mysql", "password": secret})),
        ("iam", _database_connection(dsn, secret, iam=True)),
        ("migrate", _database_connection(dsn.rsplit("/", 1)[0] + "/postgres")),
    ):
        monkeypatch.setenv("AIRFLOW_CONN_TARGET", connection)
        _operate(haystack, expected, f"{source.url}/stream?{QUERY}", postgres_conn_id="target")
    assert not haystack.secrets({"key": body})
    assert "sse_stream" in haystack


def test_a_source_that_cannot_be_used(
    haystack: Haystack, restaurant: Database, source: LeakySource, tmp_path: Path
) -> None:
    with_login = source.url.replace("http://", f"http://{BASIC}@")
    secure = with_login.replace("http://", "https://")
    for expected, url in (
        ("401", f"{with_login}/401?{QUERY}"),
        ("404", f"{with_login}/404?{QUERY}"),
        ("401", f"{with_login}/away?{QUERY}"),
        ("redirected more", f"{with_login}/loop?{QUERY}"),
        ("other than http", f"{with_login}/ftp?{QUERY}"),
        ("content type", f"{with_login}/html?{QUERY}"),
        ("connection failed|within", f"{secure}/stream?{QUERY}"),
        ("connection failed|never reached|within", f"http://{BASIC}@127.0.0.1:1/stream?{QUERY}"),
        ("not an http", f"ftp://{BASIC}@h/?{QUERY}"),
        ("not an http|url", f"http://{BASIC}@h:99999/?{QUERY}"),
    ):
        _operate(haystack, expected, url)
    # Without a header in its place, the login of the URL is sent.
    _operate(haystack, "401", f"{with_login}/401?{QUERY}", headers={})
    _operate(haystack, "header", source.url, headers={"X-Bad": SECRETS["api key"] + "\n"})
    _operate(haystack, "header", source.url, headers={"X Bad": SECRETS["api key"]})
    # Not even what the books keep of a failed run.
    haystack.add(restaurant.run("select error, to_jsonb(runs)::text from sse_stream.runs"))
    assert "401" in haystack
    assert any(SECRETS["cookie"] in repr(request) for request in source.requests)


def test_polling_a_source_that_cannot_be_used(
    haystack: Haystack, restaurant: Database, source: LeakySource
) -> None:
    with_login = source.url.replace("http://", f"http://{BASIC}@")
    for expected, path in (
        ("401", "/401"),
        ("401", "/away"),
        ("redirected more", "/loop"),
        ("not laid out", "/200"),
    ):
        _operate(haystack, expected, f"{with_login}{path}?{QUERY}", source_kind="poll")


def test_a_sensor_that_waits(haystack: Haystack, source: LeakySource) -> None:
    with_login = source.url.replace("http://", f"http://{BASIC}@")
    for path in ("/401", "/503", "/away", "/loop", "/html"):
        for arguments in ({}, {"headers": {}}, {"health_url": f"{with_login}/500?{QUERY}"}):
            _look(haystack, f"{with_login}{path}?{QUERY}", **arguments)
    _look(haystack, f"{with_login.replace('http:', 'https:')}/stream?{QUERY}")
    _look(haystack, f"http://{BASIC}@127.0.0.1:1/stream?{QUERY}")
    for url in (f"ftp://{BASIC}@h/?{QUERY}", f"http://{BASIC}@h:port/?{QUERY}"):
        with pytest.raises(ConfigError) as caught:
            _look(haystack, url)
        haystack.add_exception(caught.value)
    assert "answers 401" in haystack


def test_connections_that_are_wrong(haystack: Haystack, monkeypatch: pytest.MonkeyPatch) -> None:
    token, cookie = SECRETS["bearer token"], SECRETS["cookie"]
    for fields in (
        {},
        {"host": f"http://{BASIC}@h"},
        {"host": "h", "extra": {"token": token}},
        {"host": "h", "extra": {"headers": {"Cookie": [cookie]}}},
        {"host": "h", "extra": {"headers": f"Cookie: {cookie}"}},
        {"host": "h", "extra": {"client_key": {"pem": token}}},
    ):
        connection = {"conn_type": "http", "password": token, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps(connection))
        with pytest.raises(ConfigError) as caught:
            airflow_source("feed", "/stream")
        haystack.add_exception(caught.value)
    password = quote(SECRETS["database password"], safe="")
    for url in (
        f"mysql://u:{password}@h/d",
        f"postgresql://u:{password}@h:port/d",
        f"postgresql://u:{password}@[h/d",
        f"postgresql://u@h/d?passwort={password}",
        SECRETS["database password"],
    ):
        with pytest.raises(ConfigError) as caught:
            url_database(url, where="DATABASE_URL")
        haystack.add_exception(caught.value)


def test_settings_of_the_wrong_kind(haystack: Haystack) -> None:
    secret = SECRETS["database password"]
    good: dict[str, Any] = {
        "source": {"url": "http://h/", "headers": HEADERS},
        "database": {"host": "h", "password": secret},
        "preset": load_preset("restaurant").toml,
    }
    for wrong in (
        {"database": f"postgresql://u:{secret}@h/d"},
        {"database": {"password": [secret]}},
        {"database": {"password": {"is": secret}}},
        {"database": {"pasword": secret}},
        {"source": {"url": "http://h/", "headers": SECRETS["cookie"]}},
        {"source": {"url": "http://h/", "kind": SECRETS["cookie"]}},
        {"source": SECRETS["bearer token"]},
        {"max_events": SECRETS["bearer token"]},
        {"unknown": SECRETS["bearer token"]},
    ):
        with pytest.raises(SSEStreamError) as caught:
            _native.run(json.dumps({**good, **wrong}))
        haystack.add_exception(caught.value)
    for call in (_native.status, lambda text: _native.migrate(text, "x", [])):
        with pytest.raises(SSEStreamError) as caught:
            call(json.dumps([secret]))
        haystack.add_exception(caught.value)
    assert "unknown" in haystack


def _command(
    haystack: Haystack, monkeypatch: pytest.MonkeyPatch, *arguments: str, **environment: str
) -> int:
    """Run the command line in this process; it ends with a sentence, never with an exception."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    try:
        code = main(arguments)
    except SystemExit as error:
        haystack.add_exception(error)
        code = int(str(error.code))
    return code


def test_a_command_without_its_database(
    haystack: Haystack, restaurant: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = quote(SECRETS["database password"], safe="")
    parts = urlsplit(restaurant.dsn)
    wrong = f"postgresql://{parts.username}:{secret}@{parts.hostname}:{parts.port}{parts.path}"
    for command in (
        ("migrate", "--preset", "restaurant"),
        ("status",),
        ("doctor",),
        ("reset", "--stream", "restaurant", "--to", "5", "--yes"),
        ("prune",),
    ):
        for url in (
            wrong,
            f"{wrong}?sslmode=verify-full",
            wrong.replace(secret, SECRETS["database password"]),
            f"postgresql://u:{secret}@127.0.0.1:1/d",
            f"mysql://u:{secret}@h/d",
            f"postgresql://u:{secret}@h:port/d",
        ):
            assert _command(haystack, monkeypatch, *command, DATABASE_URL=url) > 0, (command, url)
        assert _command(haystack, monkeypatch, *command, f"--database-url={wrong}") == 2
        connection = ("--conn-id=target",)
        assert _command(haystack, monkeypatch, *command, *connection, AIRFLOW_CONN_TARGET=wrong) > 0
    done = subprocess.run(
        [sys.executable, "-m", "sse_stream", "status"],
        env={**os.environ, "DATABASE_URL": wrong, "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"},
        capture_output=True,
        text=True,
        check=False,
    )
    haystack.add(done.stdout, done.stderr)
    assert done.returncode == 2
    assert "password authentication failed" in haystack


def test_a_command_with_a_source_that_says_no(
    haystack: Haystack,
    restaurant: Database,
    source: LeakySource,
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", restaurant.dsn)
    SSEStreamOperator(task_id="ingest", sse_url=f"{source.url}/stream", timeout_seconds=5).execute(
        {}
    )
    with_login = source.url.replace("http://", f"http://{BASIC}@")
    for arguments in (
        ("--source-url", f"{with_login}/stream?{QUERY}"),
        ("--source-url", f"{with_login}/401?{QUERY}"),
        ("--source-url", f"http://{BASIC}@127.0.0.1:1/stream?{QUERY}"),
        ("--health-url", f"{with_login}/away?{QUERY}"),
        ("--health-url", f"{with_login}/401?{QUERY}"),
        ("--source-url", f"ftp://{BASIC}@h/?{QUERY}"),
        ("--source-url", f"http://{BASIC}@h:port/?{QUERY}"),
        ("--source-conn", "feed"),
    ):
        feed = {"conn_type": "http", "host": source.url, "login": "ada"}
        feed["password"] = SECRETS["basic password"]
        for command in (
            ("status", "--stream", "restaurant"),
            ("status", "--stream", "restaurant", "--json"),
            ("doctor", "--stream", "restaurant"),
            ("doctor", "--stream", "restaurant", "--json"),
            ("reset", "--stream", "restaurant", "--to", "head", "--yes"),
        ):
            _command(
                haystack, monkeypatch, *command, *arguments, AIRFLOW_CONN_FEED=json.dumps(feed)
            )
    haystack.add(*capfd.readouterr())
    assert "answers 401" in haystack


def test_events_that_are_wrong(
    haystack: Haystack, restaurant: Database, source: LeakySource
) -> None:
    secret = SECRETS["payload"]
    golden = (ROOT / "tests" / "fixtures" / "golden" / "restaurant.sse").read_text()
    order, item, _, payment = [block.partition("\n")[2] for block in golden.split("\n\n")[:4]]

    @event_processor("note")
    def note(cursor: Any, event: Any, payload: Any) -> None:
        cursor.execute("select %s::int", [payload["text"]])

    @event_processor("memo")
    def memo(cursor: Any, event: Any, payload: Any) -> None:
        raise RuntimeError(payload["text"])

    quoted = json.dumps(secret)
    bad = [
        item.replace('"qty":1', f'"qty":{quoted}'),
        item.replace('"qty":1', '"qty":99999').replace("Sparkling Water", secret),
        item.replace('"Sparkling Water"', '"\\u0000' + quoted[1:]),
        item.replace('"Sparkling Water"', f"[{quoted}]"),
        item.replace('"qty":1', '"qty":-1').replace("Sparkling Water", secret),
        item.replace('"Sparkling Water"', quoted + quoted),
        order.replace('"dine_in"', quoted),
        order.replace('"dine_in"', '"takeout"').replace('"visit_id":"', f'"visit_id":"{secret}'),
        payment.replace('"payment_id":"', f'"payment_id":"{secret}'),
        f"event: secret\ndata: {quoted}",
    ]
    source.blocks = [order, item, *bad, item.replace("Sparkling Water", secret)]
    operator = SSEStreamOperator(
        task_id="ingest", sse_url=f"{source.url}/stream", timeout_seconds=5, offset_variable=None
    )
    report = operator.execute({})
    haystack.add(report)
    assert report["dead_letters"] == len(bad) + 1
    for block in bad:
        source.blocks = [block]
        _operate(
            haystack,
            "event",
            f"{source.url}/stream",
            on_bad_event="fail",
            stream=f"failing {bad.index(block)}",
        )
    texts = [
        f"event: {kind}\ndata: {json.dumps({'payload': {'text': secret}})}"
        for kind in ("note", "memo")
    ]
    source.blocks = texts
    report = SSEStreamOperator(
        task_id="ingest",
        sse_url=f"{source.url}/stream",
        timeout_seconds=5,
        offset_variable=None,
        stream="processed",
        event_processors=[note, memo],
    ).execute({})
    haystack.add(report)
    assert report["dead_letters"] == 2
    for which, block in enumerate(texts):
        source.blocks = [block]
        _operate(
            haystack,
            "event",
            f"{source.url}/stream",
            on_bad_event="fail",
            stream=f"processed {which}",
            event_processors=[note, memo],
        )
    haystack.add(restaurant.run("select error from sse_stream.runs"))
    assert "dead" in haystack


def test_the_engine_alone_at_its_most_talkative(
    haystack: Haystack, restaurant: Database, source: LeakySource
) -> None:
    source.blocks = [f'event: x\ndata: {{"a": "{SECRETS["payload"]}"}}'] * 3
    config = {
        "source": {"url": f"{source.url}/stream?{QUERY}", "headers": HEADERS, "max_attempts": 2},
        "database": airflow_database("postgres_restaurant"),
        "preset": load_preset("restaurant").toml,
        "timeout_seconds": 3,
    }
    lines: list[str] = []
    report = _native.run(
        json.dumps(config),
        log=lambda level, target, text: lines.append(f"{level} {target} {text}"),
        log_level=0,
    )
    haystack.add(report, *lines)
    assert report["dead_letters"] == 3
    assert any(line.startswith("10 sse::") for line in lines), lines
