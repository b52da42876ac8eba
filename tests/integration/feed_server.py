"""A server of recorded feeds over real HTTP, with the quirks that each feed is known for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

FEEDS = Path(__file__).resolve().parents[1] / "fixtures" / "feeds"


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """A response; one that stays ends only with the server, and heartbeats meanwhile."""

    blocks: list[str] = field(default_factory=list)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    stays: bool = False
    heartbeat: str = ":\n\n"
    raw: bytes | None = None


@dataclass
class FeedServer:
    """A running server and what it was asked."""

    url: str
    requests: list[Request]


@contextmanager
def serve(answer: Callable[[Request], Answer]) -> Iterator[FeedServer]:
    """Serve what ``answer`` makes of each request, until the end of the block."""
    requests: list[Request] = []
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            request = Request(self.command, parts.path, query, headers, body)
            requests.append(request)
            reply = answer(request)
            self.send_response(reply.status)
            for name, value in {"Content-Type": "text/event-stream", **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(reply.raw or "".join(reply.blocks).encode())
                while reply.stays and not ended.wait(0.1):
                    self.wfile.write(reply.heartbeat.encode())
            except OSError:
                pass

        do_GET = do_POST = respond  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield FeedServer(f"http://127.0.0.1:{server.server_port}", requests)
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def blocks(feed: str) -> list[str]:
    """Return the recorded blocks of a feed, comments included."""
    text = (FEEDS / f"{feed}.sse").read_text(encoding="utf-8")
    return [f"{block}\n\n" for block in text.split("\n\n") if block]


def sse_id(block: str) -> str | None:
    """Return the id field of a block."""
    found = [line[4:] for line in block.splitlines() if line.startswith("id: ")]
    return found[-1] if found else None


def data(block: str) -> str:
    """Return the data of a block."""
    return "\n".join(line[6:] for line in block.splitlines() if line.startswith("data: "))


def after(recorded: list[str], token: str | None) -> list[str]:
    """Return what follows the block with this id: all without one, nothing for an unknown one."""
    if token is None:
        return recorded
    places = [at for at, block in enumerate(recorded) if sse_id(block) == token]
    return recorded[places[-1] + 1 :] if places else []
