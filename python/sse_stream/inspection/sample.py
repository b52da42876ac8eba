"""A bounded piece of a stream, with the times at which it came."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any

from sse_stream.probe import request_stream

__all__ = ["Event", "Sample", "take_sample"]

_CHUNK_BYTES = 64 << 10


@dataclass(frozen=True)
class Event:
    """One block with data; ``id`` is None where it had none of its own, ``at`` in seconds."""

    id: str | None
    type: str
    data: str
    at: float


@dataclass
class Sample:
    """What came, and the signs of life between."""

    headers: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    comments_at: list[float] = field(default_factory=list)
    retry_ms: int | None = None
    seconds: float = 0.0
    ended: bool = False
    oversize: int = 0


def take_sample(
    url: str,
    *,
    max_events: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
    tls: Mapping[str, str] | None = None,
    last_event_id: str | None = None,
) -> Sample:
    """Read until so many events or seconds, or the end of the response.

    Raises:
        ConfigError: the URL or a file of ``tls`` cannot be used.
        UnhealthyError: no answer in time, or none with events.
    """
    from sse_stream import _native

    sent = dict(headers or {})
    if last_event_id is not None:
        sent["Last-Event-ID"] = last_event_id
    response = request_stream(url, headers=sent, tls=tls, timeout_seconds=max(seconds, 1.0))
    sample = Sample({name.lower(): value for name, value in response.headers.items()})
    parser = _native.Parser()
    began = time.monotonic()
    with _Chunks(response) as chunks:
        while len(sample.events) < max_events:
            chunk = chunks.next(began + seconds - time.monotonic())
            if not chunk:
                sample.ended = chunk is not None
                break
            now = time.monotonic() - began
            for item in parser.feed(chunk):
                _keep(sample, item, now, max_events)
    sample.seconds = time.monotonic() - began
    return sample


class _Chunks:
    """Reads a response on a thread of its own: a source may be silent for as long as it likes."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response
        # A source that is faster than we are has to wait.
        self._queue: queue.Queue[bytes] = queue.Queue(maxsize=64)
        self._enough = threading.Event()

    def __enter__(self) -> _Chunks:
        threading.Thread(target=self._read, name="inspect", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        # Whoever waits to put a chunk finds room, and then the event.
        while not self._queue.empty():
            self._queue.get_nowait()

    def next(self, seconds: float) -> bytes | None:
        """Return what came, nothing at the end, None where nothing came in time."""
        try:
            return self._queue.get(timeout=seconds) if seconds > 0 else None
        except queue.Empty:
            return None

    def _read(self) -> None:
        chunk = b"-"
        while chunk and not self._enough.is_set():
            try:
                chunk = self._response.read1(_CHUNK_BYTES)
            except (OSError, HTTPException, ValueError):
                chunk = b""
            self._queue.put(chunk)
        self._response.close()


def _keep(sample: Sample, item: Mapping[str, Any], now: float, max_events: int) -> None:
    kind = item["type"]
    if kind == "event" and len(sample.events) < max_events:
        own = bytes(item["id"]).decode("utf-8", "replace") if item["own_id"] else None
        sample.events.append(Event(own or None, item["event"], item["data"], now))
    elif kind == "comment":
        sample.comments_at.append(now)
    elif kind == "retry":
        sample.retry_ms = item["ms"]
    elif kind == "oversize":
        sample.oversize += 1
