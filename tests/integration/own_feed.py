"""A feed that nobody has described: five types of nested events, ids that are text."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COUNT = 60


def document(number: int) -> tuple[str, str, dict[str, Any]]:
    """Id, type and data of one event."""
    kind = ("user.created", "order.placed", "order.shipped", "sensor", "note")[number % 5]
    at = f"2026-03-{number % 28 + 1:02d}T10:00:{number % 60:02d}.250Z"
    data: dict[str, Any] = {
        "user.created": {
            "user": {"id": f"u-{number}", "name": "Zoë", "address": {"city": "Köln", "zip": None}},
            "createdAt": at,
            "tags": ["new", {"n": number}],
        },
        "order.placed": {
            "order": {"id": number, "total": f"{number}.50", "lines": [{"sku": "a", "qty": 2}]},
            "placedAt": 1_767_225_600_000 + number,
            "ip": f"10.0.0.{number}",
        },
        "order.shipped": {
            "order": {"id": number},
            "parcel": f"0193b3f0-0000-7000-8000-{number:012d}",
            "day": "2026-03-01",
        },
        "sensor": {"value": number / 4, "ok": number % 2 == 0, "unit": "C" if number % 4 else None},
        "note": {"text": "two\nlines", "user": {"id": f"u-{number}"}},
    }[kind]
    return f"evt_{number:05d}z", kind, data


class Feed:
    """Serves the events after the asked id, heartbeats between, and goes on for ever."""

    def __init__(self) -> None:
        feed = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                feed.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.count = COUNT
        self.pause_seconds = 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/stream"
        self._closed = threading.Event()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Send what follows the id, then heartbeats."""
        asked = request.headers.get("Last-Event-ID")
        number = int(asked[4:-1]) + 1 if asked else 0
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.end_headers()
        try:
            request.wfile.write(b"retry: 1500\n\n")
            while not self._closed.is_set():
                while number < self.count and not self._closed.is_set():
                    request.wfile.write(block(number))
                    number += 1
                    time.sleep(self.pause_seconds)
                request.wfile.write(b": still here\n\n")
                request.wfile.flush()
                self._closed.wait(0.1)
        except OSError:
            pass

    def close(self) -> None:
        """End all answers."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()


def block(number: int) -> bytes:
    """One event as it is sent."""
    event_id, kind, data = document(number)
    return f"id: {event_id}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()
