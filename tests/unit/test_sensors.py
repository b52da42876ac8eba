"""The sensor against a real HTTP server."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

import pytest
from airflow.exceptions import (
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from sse_stream import ConfigError, SSEStreamSensor
from sse_stream.probe import _origin, derive_health_url, safe_url

from .conftest import Source


def _sensor(source: Source, **arguments: Any) -> SSEStreamSensor:
    arguments.setdefault("sse_url", f"{source.url}/stream")
    arguments.setdefault("timeout_seconds", 0.5)
    return SSEStreamSensor(task_id="wait", **arguments)


def _one_event(last: int) -> Iterator[bytes]:
    yield b"id: 1\ndata: x\n\n"


def _healthy(source: Source) -> None:
    source.answer("/health", 200, b'{"status": "ok"}')
    source.stream("/stream", _one_event)


def test_defaults_are_those_of_the_original(source: Source) -> None:
    sensor = SSEStreamSensor(task_id="wait", sse_url=f"{source.url}/stream")
    assert sensor.timeout_seconds == 10
    assert sensor.timeout == 300
    assert sensor.poke_interval == 5


def test_a_source_that_speaks_is_healthy(source: Source) -> None:
    _healthy(source)
    assert _sensor(source).poke({}) is True
    assert [path for path, _ in source.requests] == ["/health", "/stream"]
    assert source.requests[1][1]["accept"] == "text/event-stream"


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_health_check_that_refuses_is_unhealthy(
    source: Source, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    _healthy(source)
    source.answer("/health", status)
    with caplog.at_level(logging.INFO):
        assert _sensor(source).poke({}) is False
    assert f"answers {status}" in caplog.text
    assert [path for path, _ in source.requests] == ["/health"]


@pytest.mark.parametrize(
    ("status", "content_type", "reason"),
    [
        (200, "text/html", "text/html"),
        (200, "application/json", "application/json"),
        (204, "text/event-stream", "204"),
        (403, "text/event-stream", "403"),
    ],
)
def test_what_is_no_open_event_stream_is_unhealthy(
    source: Source, status: int, content_type: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    _healthy(source)
    source.answer("/stream", status, b"", Content_Type=content_type)
    with caplog.at_level(logging.INFO):
        assert _sensor(source).poke({}) is False
    assert reason in caplog.text


def test_a_stream_without_a_byte_is_unhealthy_in_time(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    _healthy(source)

    def silent(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.end_headers()
        handler.wfile.flush()
        source.closing.wait(5)

    source.routes["/stream"] = silent
    began = time.monotonic()
    with caplog.at_level(logging.INFO):
        assert _sensor(source, timeout_seconds="0.3").poke({}) is False
    assert time.monotonic() - began < 2
    assert "timed out" in caplog.text


def test_a_stream_that_ends_at_once_is_unhealthy(source: Source) -> None:
    _healthy(source)
    source.answer("/stream", 200, b"", Content_Type="text/event-stream")
    assert _sensor(source).poke({}) is False


def test_nobody_at_home_is_unhealthy(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    sensor = _sensor(source, sse_url="http://user:s3cret@127.0.0.1:1/stream?token=s3cret")
    with caplog.at_level(logging.INFO):
        assert sensor.poke({}) is False
    assert "refused" in caplog.text
    assert "s3cret" not in caplog.text


def test_the_sensor_waits_until_the_source_is_there(source: Source) -> None:
    timer = threading.Timer(0.3, lambda: _healthy(source))
    timer.start()
    sensor = _sensor(source, poke_interval=0.1, timeout=10)
    sensor.execute({})
    timer.join()
    assert any(path == "/stream" for path, _ in source.requests)


def test_the_sensor_gives_up_after_its_timeout(source: Source) -> None:
    with pytest.raises(AirflowSensorTimeout):
        _sensor(source, poke_interval=0.05, timeout=0.2).execute({})


def test_soft_fail_skips(source: Source) -> None:
    with pytest.raises(AirflowSkipException):
        _sensor(source, poke_interval=0.05, timeout=0.2, soft_fail=True).execute({})


def test_reschedule_mode_frees_the_slot(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sensors import base

    monkeypatch.setattr(base, "_orig_start_date", lambda **_: None)
    sensor = _sensor(source, mode="reschedule", poke_interval=60)
    assert sensor.reschedule

    class Instance:
        dag_id = task_id = run_id = "x"
        map_index, try_number, max_tries = -1, 1, 0

    with pytest.raises(AirflowRescheduleException):
        sensor.execute({"ti": Instance()})


@pytest.mark.parametrize("url", ["", "stream", "ftp://host/stream", "http:///stream"])
def test_a_wrong_url_is_an_error_and_no_reason_to_wait(source: Source, url: str) -> None:
    with pytest.raises(ConfigError):
        _sensor(source, sse_url=url).poke({})


@pytest.mark.parametrize("seconds", [0, -1, "soon", None])
def test_a_wrong_timeout_is_an_error(source: Source, seconds: Any) -> None:
    with pytest.raises(ConfigError):
        _sensor(source, timeout_seconds=seconds).poke({})


def test_headers_are_sent_but_do_not_follow_to_another_origin(source: Source) -> None:
    other = Source()
    try:
        _healthy(other)
        _healthy(source)
        source.answer("/stream", 302, b"", Location=f"{other.url}/stream")
        headers = {"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "Cookie": "s3cret"}
        assert _sensor(source, headers=headers).poke({}) is True
        assert source.requests[-1][1]["authorization"] == "Bearer s3cret"
        assert source.requests[-1][1]["x-api-key"] == "s3cret"
        assert other.requests[-1][1]["accept"] == "text/event-stream"
        assert "s3cret" not in str(other.requests)
    finally:
        other.close()


def test_headers_follow_within_one_origin(source: Source) -> None:
    _healthy(source)
    source.stream("/moved", _one_event)
    source.answer("/stream", 307, b"", Location="/moved")
    assert _sensor(source, headers={"X-Api-Key": "s3cret"}).poke({}) is True
    assert [path for path, _ in source.requests] == ["/health", "/stream", "/moved"]
    assert source.requests[-1][1]["x-api-key"] == "s3cret"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://h/a", "http://H:80/b", True),
        ("https://h:443/a", "https://u:p@h/b", True),
        ("http://h/a", "https://h/a", False),
        ("http://h/a", "http://h:443/a", False),
        ("http://h/a", "http://g/a", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert (_origin(one) == _origin(other)) is same


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/stream", "http://127.0.0.1:99999/"])
def test_a_redirect_to_nonsense_is_unhealthy(
    source: Source, location: str, caplog: pytest.LogCaptureFixture
) -> None:
    _healthy(source)
    source.answer("/stream", 302, b"", Location=location)
    with caplog.at_level(logging.INFO):
        assert _sensor(source).poke({}) is False
    assert "redirects to what is not" in caplog.text


def test_headers_that_are_not_text_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'X'.* int"):
        SSEStreamSensor(task_id="wait", sse_url="http://h/stream", headers={"X": 5})  # type: ignore[dict-item]


def test_the_health_url_stands_beside_the_stream() -> None:
    assert derive_health_url("http://h:1/a/stream?x=1") == "http://h:1/a/health"
    assert derive_health_url("http://h/events/") == "http://h/health"
    assert derive_health_url("http://h/other") is None


def test_urls_are_shown_without_secrets() -> None:
    assert safe_url("https://u:p@h:1/stream?token=t#f") == "https://h:1/stream"


def test_headers_of_any_script_are_sent_and_none_can_hold_another(source: Source) -> None:
    _healthy(source)
    sensor = _sensor(source, headers={"X-Tenant": "Jäger 🚢"})
    assert sensor.poke({}) is True
    assert source.requests[0][1]["x-tenant"].encode("latin-1").decode() == "Jäger 🚢"
    with pytest.raises(ConfigError, match="'X-A' holds a line break"):
        _sensor(source, headers={"X-A": "1\r\nX-Admin: s3cret"})


@pytest.mark.parametrize("in_body", [False, True])
def test_one_token_is_fetched_for_a_look(
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    in_body: bool,
) -> None:
    _healthy(source)
    forms = []

    def token(handler: BaseHTTPRequestHandler) -> None:
        forms.append(parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode()))
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b'{"access_token": "t0ken", "token_type": "Bearer"}')

    source.routes["/token"] = token
    extra = {"oauth_token_url": f"{source.url}/token", "oauth_scope": "read all"}
    _connect(monkeypatch, source, extra={**extra, "oauth_in_body": in_body})
    sensor = _sensor(source, sse_conn_id="feed", sse_url="/stream")
    with caplog.at_level(logging.DEBUG):
        assert sensor.poke({}) is True
    assert [path for path, _ in source.requests] == ["/token", "/health", "/stream"]
    shown = [headers.get("authorization") for _, headers in source.requests]
    assert shown == [None if in_body else "Basic Y2xpZW50OnMzY3JldCtA", *["Bearer t0ken"] * 2]
    secret = {"client_id": ["client"], "client_secret": ["s3cret+@"]} if in_body else {}
    assert forms == [{"grant_type": ["client_credentials"], "scope": ["read all"], **secret}]
    assert "s3cret" not in caplog.text
    assert "t0ken" not in caplog.text


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "/token answers 401"),
        (302, b"", "/token answers 302"),
        (200, b"<html>", "without an access_token"),
        (200, b'{"access_token": "t0ken", "token_type": "mac"}', "no bearer token"),
    ],
)
def test_without_a_token_nothing_is_asked_of_the_source(
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: bytes,
    words: str,
) -> None:
    _healthy(source)
    source.answer("/token", status, body, Location="/stream")
    _connect(monkeypatch, source, extra={"oauth_token_url": f"{source.url}/token"})
    with caplog.at_level(logging.INFO):
        assert _sensor(source, sse_conn_id="feed", sse_url="/stream").poke({}) is False
    assert words in caplog.text
    assert [path for path, _ in source.requests] == ["/token"]


def test_a_proxy_is_asked_where_one_is_named_and_only_there(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    _healthy(source)
    for path in ("/health", "/stream"):
        source.routes[f"http://feed.test{path}"] = source.routes[path]
    proxy = source.url.replace("http://", "http://ada:s3cret@")
    _connect(monkeypatch, source, host="feed.test", login=None, extra={"proxy": proxy})
    # What the environment excepts is excepted from the environment's proxy.
    monkeypatch.setenv("no_proxy", "*")
    assert _sensor(source, sse_conn_id="feed", sse_url="/stream").poke({}) is True
    paths = [path for path, _ in source.requests]
    assert paths == ["http://feed.test/health", "http://feed.test/stream"]
    for _, headers in source.requests:
        assert headers["proxy-authorization"].startswith("Basic ")
        assert headers["host"] == "feed.test"

    # The engine takes no proxy of the environment unless it is told to; nor does the sensor.
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert _sensor(source).poke({}) is True
    monkeypatch.setenv("http_proxy", source.url)
    _connect(monkeypatch, source, host="feed.test", login=None, extra={"proxy": "environment"})
    assert _sensor(source, sse_conn_id="feed", sse_url="/stream").poke({}) is True
    assert source.requests[-1][0] == "http://feed.test/stream"


def _connect(monkeypatch: pytest.MonkeyPatch, source: Source, **fields: Any) -> None:
    known = {"conn_type": "sse", "host": source.url, "login": "client", "password": "s3cret+@"}
    monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps({**known, **fields}))
