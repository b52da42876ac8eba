"""A proxy in front of the event source that misbehaves on demand.

It takes the chunked coding off the source's stream and puts it on again, so that it can break off
in the middle of a line or say things of its own between two events.
"""

from __future__ import annotations

import http.client
import queue
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from demo import ports

CHUNK = 1 << 16
HEAD_LIMIT = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What a request gets instead of the stream."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass
class Order:
    """Something that one running stream is to do once. `begin` is told when it begins."""

    work: Callable[[Stream, bytes], None]
    begin: Callable[[], None]
    begun: threading.Event = field(default_factory=threading.Event)


class BrokenOffError(Exception):
    """The stream was ended on purpose."""


class Stream:
    """The client's side of one response with events."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._in_block = False
        self.opened_at = time.monotonic()

    def say(self, data: bytes) -> None:
        """Send bytes of the body."""
        if data:
            self._client.sendall(b"%x\r\n%s\r\n" % (len(data), data))
            self._in_block = not data.endswith(b"\n\n")

    def cut_in_line(self, data: bytes, *, cleanly: bool) -> None:
        """Say what comes up to the middle of a line and end, cleanly or by breaking off."""
        line = data.find(b"\ndata: ")
        middle = line + 40 if 0 <= line < len(data) - 60 else max(len(data) // 2, 1)
        self.say(data[:middle])
        if cleanly:
            self._client.sendall(b"0\r\n\r\n")
        raise BrokenOffError

    def insert(self, data: bytes, block: bytes, *, goes_on: bool) -> bool:
        """Say `block` between two events, then the rest of `data` or nothing more at all.

        False, with `data` said, where it holds no place between two events.
        """
        if self._in_block:
            place = data.find(b"\n\n")
            if place < 0:
                self.say(data)
                return False
            self.say(data[: place + 2])
            data = data[place + 2 :]
        for start in range(0, len(block), CHUNK):
            self.say(block[start : start + CHUNK])
        if not goes_on:
            raise BrokenOffError
        self.say(data)
        return True

    def drip(self, data: bytes, seconds: float) -> None:
        """Say one byte at a time for so long, then the rest."""
        until = time.monotonic() + seconds
        said = 0
        while said < len(data) - 1 and time.monotonic() < until:
            self.say(data[said : said + 1])
            said += 1
            time.sleep(0.02)
        self.say(data[said:])

    def fall_silent(self, seconds: float) -> None:
        """Say nothing more and stay, until the client goes away."""
        self._client.settimeout(seconds)
        with suppress(OSError):
            while self._client.recv(CHUNK):
                pass
        raise BrokenOffError


class WebProxy:
    """Listens on a port of its own and passes requests on to the source."""

    def __init__(self, source_port: int) -> None:
        self._source_port = source_port
        self._listener = socket.create_server((ports.LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._answers: deque[Answer] = deque()
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._fresh = threading.Condition()
        # When a stream that began after a fault gave its first event.
        self._last_opened = 0.0
        self._spoken_at = 0.0
        self.answered = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The base URL that tasks use instead of the source's."""
        return f"http://{ports.LOOPBACK}:{self.port}"

    def give(self, order: Order) -> None:
        """Have the stream that speaks next do this."""
        self._orders.put(order)

    def withdraw(self) -> None:
        """Take back orders and answers that nobody asked for in time."""
        with suppress(queue.Empty):
            while True:
                self._orders.get_nowait()
        self._answers.clear()

    def answer(self, *answers: Answer) -> None:
        """Give these to the requests for the stream that come next."""
        self._answers.extend(answers)

    def await_answered(self, count: int, seconds: float) -> bool:
        """Wait until so many prepared answers were fetched, ever."""
        deadline = time.monotonic() + seconds
        while self.answered < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.answered >= count

    def await_fresh(self, after: float, seconds: float) -> float | None:
        """Return when events first came on a stream opened after `after`, None if in vain."""
        deadline = time.monotonic() + seconds
        with self._fresh:
            while self._last_opened <= after:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._fresh.wait(left)
            return self._spoken_at

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(60)
        try:
            head = _head(client)
            if head:
                self._handle(client, head)
        except BrokenOffError:
            pass
        except (OSError, http.client.HTTPException, ValueError):
            # What breaks off behind us breaks off before us, without a proper end.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            client.close()

    def _handle(self, client: socket.socket, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        is_stream = path.startswith("/stream")
        if is_stream and self._answers:
            _respond(client, self._answers.popleft())
            self.answered += 1
            return
        source = http.client.HTTPConnection(ports.LOOPBACK, self._source_port, timeout=60)
        try:
            source.request(method, path.replace("/stream/again", "/stream"), headers=headers)
            response = source.getresponse()
            if is_stream and response.status == 200:
                self._pass_stream(client, response)
            else:
                own = ("transfer-encoding", "content-length", "connection")
                kept = tuple(pair for pair in response.getheaders() if pair[0].lower() not in own)
                _respond(client, Answer(response.status, kept, response.read()))
        finally:
            source.close()

    def _pass_stream(self, client: socket.socket, response: http.client.HTTPResponse) -> None:
        kept = [pair for pair in response.getheaders() if pair[0].lower() != "connection"]
        lines = [f"{name}: {value}" for name, value in kept]
        client.sendall("\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1"))
        stream = Stream(client)
        while data := response.read1(CHUNK):
            order = self._next_order() if b"data: " in data else None
            if order is None:
                stream.say(data)
            else:
                order.begin()
                order.begun.set()
                order.work(stream, data)
            if b"\ndata: " in data:
                self._note(stream)
        # A source that died instead has raised by now.
        client.sendall(b"0\r\n\r\n")

    def _next_order(self) -> Order | None:
        with suppress(queue.Empty):
            return self._orders.get_nowait()
        return None

    def _note(self, stream: Stream) -> None:
        if stream.opened_at > self._last_opened:
            with self._fresh:
                self._last_opened = stream.opened_at
                self._spoken_at = time.monotonic()
                self._fresh.notify_all()


def _head(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(CHUNK)
        if not more or len(data) > HEAD_LIMIT:
            return b""
        data += more
    return data.partition(b"\r\n\r\n")[0]


def _respond(client: socket.socket, answer: Answer) -> None:
    lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    lines += [f"Content-Length: {len(answer.body)}", "Connection: close", "", ""]
    client.sendall("\r\n".join(lines).encode("latin-1") + answer.body)
