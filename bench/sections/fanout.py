"""The generator alone: how fast it makes events, and how many clients it carries."""

from __future__ import annotations

import http.client
import json
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bench.corpus import generator
from bench.laboratory import Laboratory, say
from bench.plan import WORK, BenchError, program
from bench.results import Section

FILLED = 2_000_000
PAGES = 100


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Fill a log, serve it to one, to a hundred and live to a thousand."""
    section = Section("The generator: events made, clients served")
    events, seconds = (FILLED // 4, 3) if lab.plan.quick else (FILLED, 8)
    home = tempfile.mkdtemp(prefix="log-", dir=WORK)
    try:
        section.figures["generate and append"] = (_fill(home, events), "events/s of one core")
        # A pace of 0: only what is there.
        past = (f"--data-dir={home}", "--events-per-second=0", f"--retain-events={events + 1000}",
                "--retain-bytes=4294967296")  # fmt: skip
        with generator(*past) as (url, pid):
            for clients in (1, 100):
                got = _crowd(url, pid, clients, seconds, f"--target=/stream?since=0&until={events}")
                median = got["per_client"]["median"]
                section.figures[f"/stream, {clients} clients"] = (median, "events/s each (median)")
                section.figures[f"/stream, {clients} clients, slowest"] = (
                    got["per_client"]["min"],
                    "events/s",
                )
            section.figures["/events, page of 5,000"] = (_page_ms(url), "ms (median)")
        _live(section, seconds)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    section.notes = [
        "clients run on one thread beside the server; what lies in the log was made before",
        "1,000 clients: live, at 1,000 events/s; ages are from the event's time to the client",
    ]
    return section


def _live(section: Section, seconds: int) -> None:
    with generator("--events-per-second=1000", "--max-streams=1100") as (url, pid):
        got = _crowd(url, pid, 1000, seconds, "--ages")
        section.figures["live, 1,000 clients, slowest"] = (got["per_client"]["min"], "events/s")
        section.figures["live, 1,000 clients, p99"] = (got["ages"]["p99_ms"], "ms")
        section.figures["live, 1,000 clients, memory"] = (got["server"]["peak_mib"], "MiB")
    with generator("--events-per-second=1000", "--max-streams=1100") as (url, pid):
        got = _crowd(url, pid, 50, seconds, "--ages", "--slow=50")
        section.figures["live, 50 clients beside 50 that read nothing, slowest"] = (
            got["per_client"]["min"],
            "events/s",
        )


def _fill(home: str, events: int) -> float:
    """Return events per second of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [str(program("restaurant-api")), "fill", f"--data-dir={home}", f"--events={events}"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return events / (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _crowd(url: str, pid: int, clients: int, seconds: int, *options: str) -> dict[str, Any]:
    address = urlsplit(url).netloc
    command = [str(program("examples/crowd")), address, f"--clients={clients}", "--json"]
    command += [f"--seconds={seconds}", f"--pid={pid}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"crowd of {clients} clients failed: {done.stdout}{done.stderr}")
    got: dict[str, Any] = json.loads(done.stdout)
    say(f"  {clients} clients: {got['per_client']['median']:,.0f} events/s each")
    return got


def _page_ms(url: str) -> float:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    times = []
    for number in range(PAGES):
        start = time.perf_counter()
        connection.request("GET", f"/events?since={number * 997}&limit=5000")
        connection.getresponse().read()
        times.append((time.perf_counter() - start) * 1000)
    connection.close()
    return statistics.median(times)
