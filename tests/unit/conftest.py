"""What unit tests share: a small HTTP server, a database, Airflow in a home of its own."""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

# Before any test module imports Airflow, which reads its configuration then.
_home = tempfile.TemporaryDirectory(prefix="sse-stream-airflow-")
for _name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[_name]
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"
os.environ["AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_home.name}/airflow.db"

import psycopg2  # noqa: E402
import pytest  # noqa: E402

Respond = Callable[[BaseHTTPRequestHandler], None]


class Source:
    """A source whose answers a test decides: `routes` maps a path to what writes the answer."""

    def __init__(self) -> None:
        self.routes: dict[str, Respond] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                source.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                self.close_connection = True
                respond = source.routes.get(self.path.partition("?")[0])
                try:
                    if respond is None:
                        self.send_error(404)
                    else:
                        respond(self)
                except OSError:
                    pass  # the client has gone, as clients do

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def answer(self, path: str, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer a path with one whole response."""

        def respond(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        self.routes[path] = respond

    def stream(self, path: str, events: Callable[[int], Iterator[bytes]], **headers: str) -> None:
        """Answer a path with an event stream; `events` gets the last event id and yields bytes.

        After the last bytes the stream stays open until the test is over.
        """

        def respond(handler: BaseHTTPRequestHandler) -> None:
            last = int(handler.headers.get("Last-Event-ID") or 0)
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            for piece in events(last):
                handler.wfile.write(piece)
                handler.wfile.flush()
            while not self.closing.wait(0.2):
                handler.wfile.write(b":\n")
                handler.wfile.flush()

        self.routes[path] = respond

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def source() -> Iterator[Source]:
    """A source on a free port."""
    source = Source()
    yield source
    source.close()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A superuser's URL: TEST_DATABASE_URL, or a throw-away server."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    from demo import postgres

    with postgres.throw_away() as server:
        yield server.url


class Database:
    """A fresh database; `params` are libpq's keywords for the engine."""

    def __init__(self, server_url: str) -> None:
        self.name = f"unit_{uuid.uuid4().hex[:12]}"
        parts = urlsplit(server_url)
        self.url = parts._replace(path=f"/{self.name}").geturl()
        self.params = {
            "host": parts.hostname or "localhost",
            "port": str(parts.port or 5432),
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "dbname": self.name,
        }
        self._server_url = server_url
        self._on_server(f'create database "{self.name}"')

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement in a transaction of its own and return its rows."""
        connection = psycopg2.connect(self.url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def drop(self) -> None:
        self._on_server(f'drop database "{self.name}" with (force)')

    def _on_server(self, statement: str) -> None:
        connection = psycopg2.connect(self._server_url)
        connection.autocommit = True
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """A fresh, empty database."""
    database = Database(postgres_url)
    yield database
    database.drop()


@pytest.fixture(scope="session")
def shared_database(postgres_url: str) -> Iterator[Database]:
    """One database for tests that only ask."""
    database = Database(postgres_url)
    yield database
    database.drop()
