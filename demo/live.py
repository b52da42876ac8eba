"""The one line that tells how the stream runs."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import psycopg2
import psycopg2.extensions

from demo.database import BUSINESS, Databases
from demo.http import get_json
from demo.settings import Settings

TABLES = ("raw", "orders", "items", "payments", "feedback", "waiting", "dead letters")
# Counting takes longer as tables grow; it may take this share of the time at most.
COUNTING_SHARE = 0.05

_POSITION = """
    select o.position, (select e.ts from raw_data.events_raw e
                         where e.epoch = o.epoch and e.event_offset = o.position)
      from sse_stream.streams o where o.stream = 'restaurant'
     order by o.updated_at desc limit 1
"""
_COUNTS = """
    select (select count(*) from raw_data.events_raw), (select count(*) from analytics.orders),
           (select count(*) from analytics.order_items), (select count(*) from analytics.payments),
           (select count(*) from analytics.feedback), (select count(*) from sse_stream.waiting),
           (select count(*) from sse_stream.dead_letters)
"""


class LiveLine:
    """Reads the numbers and shows them: rewritten on a terminal, now and then elsewhere."""

    def __init__(self, settings: Settings, databases: Databases) -> None:
        self._settings = settings
        self._url = databases.admin(BUSINESS)
        self._connection: psycopg2.extensions.connection | None = None
        self._counts: dict[str, int] = {}
        self._count_after = 0.0
        self._is_terminal = sys.stdout.isatty()

    @property
    def every_seconds(self) -> float:
        """How long to wait between two lines."""
        return 2.0 if self._is_terminal else 10.0

    def show(self) -> None:
        """Print the present numbers, or what cannot be read; never raise for either."""
        try:
            line = self.text()
        except (OSError, psycopg2.Error) as error:
            self._connection = None
            line = f"no numbers now: {' '.join(str(error).split())}"
        if self._is_terminal:
            width = shutil.get_terminal_size().columns
            print(f"\r{line[: width - 1]}\x1b[K", end="", flush=True)
        else:
            print(line, flush=True)

    def text(self) -> str:
        """Return the line; raise OSError or psycopg2.Error when a server does not answer."""
        landed, last_at = self._landed()
        generated = int(get_json(f"{self._settings.api_url}/health")["last_offset"] or 0)
        behind = max(generated - landed, 0)
        seconds = 0.0
        if behind and last_at is not None:
            seconds = max((datetime.now(timezone.utc) - last_at).total_seconds(), 0.0)
        counts = "  ".join(f"{name} {number}" for name, number in self._count().items())
        return f"generated {generated}  landed {landed}  lag {behind} ({seconds:.1f} s)  {counts}"

    def close(self) -> None:
        """End the line and the connection."""
        if self._is_terminal:
            print()
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()

    def _landed(self) -> tuple[int, datetime | None]:
        rows = self._query(_POSITION)
        return (int(rows[0][0]), rows[0][1]) if rows else (0, None)

    def _count(self) -> dict[str, int]:
        started = time.monotonic()
        if started >= self._count_after:
            self._counts = dict(zip(TABLES, self._query(_COUNTS)[0], strict=True))
            taken = time.monotonic() - started
            self._count_after = time.monotonic() + taken / COUNTING_SHARE
        return self._counts

    def _query(self, sql: str) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = psycopg2.connect(self._url, connect_timeout=5)
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
