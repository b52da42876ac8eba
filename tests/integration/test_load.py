"""Load, pauses and deaths: what was served is what is stored, once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from operator_stage import Generator, compare, counts, run, until
from schema_database import Database

SECONDS = 60
PAUSE = (20, 20)  # from second, for seconds
ALLOWED_GROWTH_MIB = 16

# Runs the operator and writes its memory after each progress line.
MEASURED = """
import json, logging, sys
from sse_stream import SSEStreamOperator

class Memory(logging.Handler):
    def emit(self, record):
        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[1])
        print(json.dumps({"mib": pages * 4096 / 2**20, "says": record.getMessage()}), flush=True)

logging.getLogger("airflow.task.sse_stream").addHandler(Memory())
logging.getLogger("airflow.task.sse_stream").setLevel(logging.INFO)
result = SSEStreamOperator(task_id="ingest", sse_url=sys.argv[1], offset_variable=None,
    max_events_per_run=None, timeout_seconds=float(sys.argv[2])).execute({})
print(json.dumps({"result": result}), flush=True)
"""


@contextmanager
def loaded(folder: Path, *options: str) -> Iterator[Generator]:
    generator = Generator(folder)
    generator.start(*options)
    try:
        yield generator
    finally:
        generator.kill()


@pytest.mark.slow
def test_a_database_that_stands_still_costs_neither_rows_nor_memory(
    tmp_path: Path, restaurant: Database
) -> None:
    with loaded(tmp_path, "--events-per-second=5000") as generator:
        command = [sys.executable, "-c", MEASURED, f"{generator.url}/stream", str(SECONDS)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        pauser = threading.Thread(target=_pause, args=(restaurant,))
        pauser.start()
        output, _ = process.communicate(timeout=SECONDS + 50)
        pauser.join()
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        result = lines.pop()["result"]
        progress = [line["mib"] for line in lines if "events committed" in line["says"]]
        assert result["stop_reason"] == "deadline"
        assert result["dead_letters"] == 0
        # Behind the source by less than a second's worth of events.
        assert result["events_processed"] > 5000 * (SECONDS - 1)
        assert result["events_processed"] == result["last_offset"] == counts(restaurant)[0]
        compared = compare(restaurant, generator)
        assert not compared.differences, compared.report()
        first_tenth, end = progress[0], progress[-1]
        assert end - first_tenth < ALLOWED_GROWTH_MIB, progress


def _pause(restaurant: Database) -> None:
    """Stop the operator's server processes for a while."""
    start, length = PAUSE
    time.sleep(start)
    with closing(psycopg2.connect(restaurant.dsn)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "select pid from pg_stat_activity where application_name = 'sse_stream'"
            " and datname = current_database()"
        )
        backends = [row[0] for row in cursor.fetchall()]
    assert backends, "the operator has no session to pause"
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(length)
    for pid in backends:
        os.kill(pid, signal.SIGCONT)


def test_a_generator_that_dies_and_remembers_goes_on(
    tmp_path: Path, restaurant: Database, variables: dict[str, str]
) -> None:
    options = ("--events-per-second=2000", f"--data-dir={tmp_path / 'log'}")
    with loaded(tmp_path, *options) as generator:
        epoch = generator.health()["epoch"]

        def die_three_times() -> None:
            for _ in range(3):
                landed = _landed(restaurant)
                until(lambda landed=landed: _landed(restaurant) > landed + 500)
                generator.kill()
                generator.start(*options)

        killer = threading.Thread(target=die_three_times)
        killer.start()
        result = run(generator, max_events_per_run=None, timeout_seconds=12)
        killer.join()
        assert result["epoch"] == generator.health()["epoch"] == epoch
        assert result["reconnects"] >= 3
        assert (result["dead_letters"], result["duplicates"]) == (0, 0)
        assert counts(restaurant)[0] == result["last_offset"] == result["events_processed"]
        compared = compare(restaurant, generator)
        assert not compared.differences, compared.report()


def _landed(restaurant: Database) -> int:
    with closing(psycopg2.connect(restaurant.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from raw_data.events_raw")
        return int((cursor.fetchone() or (0,))[0])


class Listener(threading.Thread):
    """A plain client of its own: reads ids, and may break off and come back."""

    def __init__(self, generator: Generator, until_offset: int, break_off_every: int) -> None:
        super().__init__()
        self.generator, self.until_offset = generator, until_offset
        self.break_off_every = break_off_every
        self.offsets: list[int] = []

    def run(self) -> None:
        while not self.offsets or self.offsets[-1] < self.until_offset:
            last = self.offsets[-1] if self.offsets else 0
            for count, offset in enumerate(self._read(last), 1):
                self.offsets.append(offset)
                if offset >= self.until_offset or count == self.break_off_every:
                    break

    def _read(self, last: int) -> Iterator[int]:
        connection = http.client.HTTPConnection("127.0.0.1", self.generator.port, timeout=20)
        with closing(connection):
            connection.request("GET", "/stream", headers={"Last-Event-ID": str(last)})
            response = connection.getresponse()
            for line in response:
                if line.startswith(b"id: "):
                    yield int(line[4:])


def test_every_client_gets_every_offset_while_the_operator_runs(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    last = 6000
    listeners = [Listener(generator, last, last), Listener(generator, last, 700)]
    for listener in listeners:
        listener.start()
    result: dict[str, Any] = run(generator, max_events_per_run=last, timeout_seconds=30)
    for listener in listeners:
        listener.join(timeout=30)
        assert listener.offsets == list(range(1, last + 1))
    assert result["last_offset"] == counts(restaurant)[0] == last
