"""A source of server-sent events for many listeners: one thread, driven by the test."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any


class Feed:
    """Answers every path with a stream; ``/health`` with 200, ``/refuse`` with 403.

    ``send`` keeps an event and gives it to all who listen; who comes later with a
    ``Last-Event-ID`` gets what follows it. ``requests`` holds paths and headers.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.epoch = "one"
        self.status = 200
        self._events: list[bytes] = []
        self._listeners: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.port: int = self._call(self._start())
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def listeners(self) -> int:
        """How many connections are open."""
        return len(self._listeners)

    def send(self, *, event: str = "message", data: Any = "x", count: int = 1) -> None:
        """Send so many events with the next ids."""
        self._call(self._send(event, data, count))

    def drop(self) -> None:
        """Close all connections, as a proxy does."""
        self._call(self._drop())

    def close(self) -> None:
        """Stop."""
        self.drop()
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _stop(self) -> None:
        self._server.close()
        await asyncio.sleep(0)

    async def _send(self, event: str, data: Any, count: int) -> None:
        for _ in range(count):
            block = (
                f"id: {len(self._events) + 1}\nevent: {event}\n"
                f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"
            ).encode()
            self._events.append(block)
            for writer in self._listeners:
                writer.write(block)

    async def _drop(self) -> None:
        for writer in list(self._listeners):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        path = head[0].split(" ")[1]
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        self.requests.append((path, headers))
        if path == "/health" or self.status != 200:
            status = 200 if path == "/health" else self.status
            body = b"{}"
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n".encode() + body)
            writer.close()
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Epoch: "
            + self.epoch.encode()
            + b"\r\n\r\nretry: 50\n: hello\n\n"
        )
        after = headers.get("last-event-id")
        if after is not None:
            for block in self._events[int(after) :]:
                writer.write(block)
        self._listeners.add(writer)
        try:
            while await reader.read(1024):
                pass
        except ConnectionError:
            pass
        finally:
            self._listeners.discard(writer)
            writer.close()


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
