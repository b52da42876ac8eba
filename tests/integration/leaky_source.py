"""A source at its worst: it refuses, redirects, and says back what it was told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LeakySource:
    """Answers by path; ``blocks`` are the events of ``/stream``, which ends behind them."""

    def __init__(self, elsewhere: str = "") -> None:
        self.blocks: list[str] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                source.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                if path == "/stream":
                    source.stream(self)
                elif path == "/away":
                    self.say(302, Location=f"{elsewhere}/401?{query}")
                elif path == "/loop":
                    self.say(302, Location=f"/loop?{query}")
                elif path == "/ftp":
                    self.say(302, Location=f"ftp://h/?{query}")
                elif path == "/html":
                    self.say(200, Content_Type="text/html")
                else:
                    self.say(int(path.strip("/") or 200))

            def say(self, status: int, **headers: str) -> None:
                echo = repr(source.requests[-1])
                self.send_response(status, echo.encode("latin-1", "replace").decode("latin-1"))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("WWW-Authenticate", f"Bearer realm={echo!r}")
                self.end_headers()
                self.wfile.write(echo.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stream(self, handler: BaseHTTPRequestHandler) -> None:
        """Send the events behind the last id; 204 if there are none."""
        last = int(handler.headers.get("Last-Event-ID") or 0)
        handler.send_response(200 if last < len(self.blocks) else 204)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("X-Epoch", "one")
        handler.end_headers()
        for number, block in enumerate(self.blocks[last:], last + 1):
            handler.wfile.write(f"retry: 10\nid: {number}\n{block}\n\n".encode())

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def leaky_source(elsewhere: str = "") -> Iterator[LeakySource]:
    """A source on a free port; ``/away`` leads to ``elsewhere``."""
    source = LeakySource(elsewhere)
    try:
        yield source
    finally:
        source.close()
