"""What sensor and operator show to whom: TLS both ways, and nothing across a redirect."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import identity

from sse_stream import ConfigError, SourceRejectedError, _native
from sse_stream.hooks import airflow_source
from sse_stream.probe import UnhealthyError, fetch_health, open_stream
from sse_stream.sensors import SSEStreamSensor

from .conftest import Database, Source

MIGRATION = "create table raw (id bigint primary key, body text)"
PRESET = """
[stream]
name = "mini"
[[route]]
event = "*"
table = "public.raw"
mode = "insert"
key = ["id"]
columns = { id = "$id", body = "$data" }
"""
SECRETS = {
    "Authorization": "Bearer s3cret",
    "Cookie": "a=s3cret",
    "X-Api-Key": "s3cret",
    "X-Anything": "s3cret",
}


class Secure(Source):
    """A source behind TLS that wants, or only likes, certificates of one client."""

    def __init__(self, own: dict[str, str], client: dict[str, str], *, required: bool) -> None:
        super().__init__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own["client_cert"], own["client_key"])
        context.load_verify_locations(client["client_cert"])
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
        self.url = f"https://localhost:{self.port}"
        self.identified: list[bool] = []

    def feed(self) -> None:
        """Serve a health and a stream that note whether a certificate was shown."""

        def respond(kind: str, body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
            def answer(handler: BaseHTTPRequestHandler) -> None:
                connection: Any = handler.connection
                self.identified.append(bool(connection.getpeercert(binary_form=True)))
                handler.send_response(200)
                handler.send_header("Content-Type", kind)
                handler.end_headers()
                handler.wfile.write(body)

            return answer

        self.routes["/health"] = respond("application/json", b"{}")
        self.routes["/stream"] = respond("text/event-stream", b"retry: 10\n\n")


@pytest.fixture
def identities(tmp_path: Path) -> dict[str, dict[str, str]]:
    return {name: identity(tmp_path, name) for name in ("server", "other", "client", "stranger")}


@pytest.fixture
def secure(identities: dict[str, dict[str, str]]) -> Iterator[Secure]:
    secure = Secure(identities["server"], identities["client"], required=True)
    secure.feed()
    yield secure
    secure.close()


@pytest.fixture
def other(identities: dict[str, dict[str, str]]) -> Iterator[Secure]:
    other = Secure(identities["other"], identities["client"], required=False)
    other.feed()
    yield other
    other.close()


def _trust(folder: Path, *identities: dict[str, str]) -> str:
    path = folder / "authorities.pem"
    path.write_text("".join(Path(each["client_cert"]).read_text() for each in identities))
    return str(path)


def _run(source: dict[str, Any], database: Database) -> dict[str, Any]:
    config = {
        "source": {**source, "max_attempts": 1},
        "database": database.params,
        "preset": PRESET,
        "timeout_seconds": 5,
    }
    return _native.run(json.dumps(config))


def test_nothing_of_the_caller_follows_a_redirect_to_another_host(source: Source) -> None:
    there = Source()
    try:
        there.answer("/health", 200, b"{}", Content_Type="application/json")
        there.answer("/stream", 200, b":\n", Content_Type="text/event-stream")
        for path in ("/health", "/stream"):
            source.answer(path, 302, b"", Location=f"{there.url}{path}")
            source.answer(f"/near{path}", 302, b"", Location=f"{path}-here")
        source.answer("/health-here", 200, b"{}")
        credentials = source.url.replace("http://", "http://ada:s3cret@")
        for url, headers in (
            (f"{source.url}/stream?key=s3cret", SECRETS),
            (f"{credentials}/stream", {}),
        ):
            sensor = SSEStreamSensor(task_id="wait", sse_url=url, headers=headers)
            assert sensor.poke({}) is True
        assert len(there.requests) == 4
        assert "s3cret" not in repr(there.requests)
        assert "ada" not in repr(there.requests)
        assert {"authorization", "x-anything"} <= set(source.requests[0][1])
        assert source.requests[2][1]["authorization"].startswith("Basic ")
        # On its own host everything is sent on.
        fetch_health(f"{source.url}/near/health", headers=SECRETS)
        assert source.requests[-1][0] == "/health-here"
        assert source.requests[-1][1]["authorization"] == "Bearer s3cret"
    finally:
        there.close()


def test_a_sensor_trusts_and_identifies_itself_by_its_connection(
    secure: Secure,
    identities: dict[str, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def look(**extra: str) -> bool:
        conn = {"conn_type": "https", "host": "localhost", "port": secure.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps(conn))
        sensor = SSEStreamSensor(task_id="wait", sse_url="/stream", sse_conn_id="feed")
        return bool(sensor.poke({}))

    ca_file = _trust(tmp_path, identities["server"])
    assert look(ca_file=ca_file, **identities["client"]) is True
    assert secure.identified == [True, True]
    with caplog.at_level("INFO"):
        assert look(**identities["client"]) is False
        assert "certificate" in caplog.text
        assert look(ca_file=ca_file) is False
        assert look(ca_file=ca_file, **identities["stranger"]) is False
    assert len(secure.identified) == 2


def test_the_probes_certificate_does_not_follow_a_redirect(
    secure: Secure, other: Secure, identities: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    tls = {
        "ca_file": _trust(tmp_path, identities["server"], identities["other"]),
        **identities["client"],
    }
    fetch_health(f"{other.url}/health", tls=tls)
    assert other.identified == [True]
    secure.answer("/health", 302, b"", Location=f"{other.url}/health")
    fetch_health(f"{secure.url}/health", tls=tls)
    assert other.identified == [True, False]


@pytest.mark.parametrize("wrong", ["ca_file", "client_cert", "client_key"])
def test_a_probe_names_files_that_cannot_be_used(
    wrong: str, identities: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("s3cret")
    for path in (str(bad), str(tmp_path / "missing"), "-----BEGIN s3cret"):
        tls = {**identities["client"], wrong: path}
        with pytest.raises(ConfigError, match=wrong) as caught:
            open_stream("https://localhost:1/stream", tls=tls)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(ConfigError, match="set both"):
        open_stream("https://localhost:1/", tls={"client_cert": "/a"})


def test_a_run_trusts_and_identifies_itself_by_its_connection(
    secure: Secure,
    identities: dict[str, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    database: Database,
) -> None:
    def run(url: str, **extra: str) -> dict[str, Any]:
        conn = {"conn_type": "https", "host": "localhost", "port": secure.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps(conn))
        return _run(airflow_source("feed", url), database)

    _native.migrate(json.dumps(database.params), "mini", [(1, "raw", MIGRATION)])
    secure.answer("/end", 204)
    ca_file = _trust(tmp_path, identities["server"])
    assert run("/end", ca_file=ca_file, **identities["client"])["stop_reason"] == "end_of_stream"
    for extra, words in (
        (identities["client"], "certificate is refused"),
        ({"ca_file": ca_file}, "client_cert"),
        ({"ca_file": ca_file, **identities["stranger"]}, "client_cert"),
    ):
        with pytest.raises(SourceRejectedError, match=words):
            run("/end", **extra)


def test_a_source_that_trusts_nobody_is_unhealthy(secure: Secure) -> None:
    with pytest.raises(UnhealthyError, match="cannot be reached"):
        fetch_health(f"{secure.url}/health")
