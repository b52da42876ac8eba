"""From the time of an event to its visible row, end to end under the real Airflow scheduler.

The demo's stack with short runs, so that the stream changes hands often. What a takeover costs is
the age of the oldest event that the next run brought: events go on being made while nobody reads.
A second session asks for new rows a hundred times a second and notes when it saw each; asking costs
some of the machine and is part of the figure, as is the generator's own delay.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
from demo.database import BUSINESS, METADATA
from demo.settings import Settings
from demo.stack import Stack, StageError

from bench.laboratory import Laboratory, say
from bench.plan import BenchError
from bench.results import Section

# The scheduler begins one run a minute at most, and not before the last but one has ended to its
# last task: much shorter ones would have no successor that waits.
RUN_SECONDS = 75
SECONDS, QUICK_SECONDS = 15 * 60, 5 * 60
FIRST_ROW_SECONDS = 180
WARM_UP_SECONDS = 5
ASK_SECONDS = 0.01
# Both sides of a takeover: what was read late waits for the end of the run before, or for a commit.
AROUND_SECONDS = 5.0
NEW_ROWS = """
select event_offset, extract(epoch from ts)::float8 from raw_data.events_raw
where epoch = %s and event_offset > %s order by event_offset
"""
POSITION = "select epoch, position from sse_stream.streams where position > 0"
TAKEOVERS = """
select extract(epoch from started_at)::float8, run_id
from sse_stream.runs where started_at > to_timestamp(%s) order by started_at
"""
BEGUN = """
select extract(epoch from start_date)::float8 from task_instance
where run_id = %s and task_id = 'realtime_stream_processor'
"""


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Watch a stack of its own at the pace of AIRFLOW_LATENCY_RATE, the day's rhythm without it."""
    seconds = QUICK_SECONDS if lab.plan.quick else SECONDS
    seconds = int(os.environ.get("AIRFLOW_LATENCY_SECONDS") or seconds)
    pace = os.environ.get("AIRFLOW_LATENCY_RATE") or None
    section = Section("Latency under the Airflow scheduler: time of the event to visible row")
    folder = Path(tempfile.mkdtemp(prefix="sse-stream-latency-"))
    folder.chmod(0o755)
    settings = replace(
        Settings.for_smoke(folder / "state"), run_seconds=RUN_SECONDS, events_per_second=pace
    )
    stack = Stack(settings)
    try:
        stack.up()
        sights, takeovers = watch(stack, seconds)
    except StageError as error:
        raise BenchError(str(error)) from error
    finally:
        stack.down()
        stack.remove()
        shutil.rmtree(folder, ignore_errors=True)
    return fill(section, sights, takeovers, f"pace: {pace or 'natural'}; runs of {RUN_SECONDS} s")


@dataclass(frozen=True)
class Sight:
    """When a row was first seen, in seconds since 1970, and how old its event was, in seconds."""

    at: float
    age: float


@dataclass(frozen=True)
class Takeover:
    """When a run took the stream, in seconds since 1970, and how long its task had been there."""

    at: float
    waited: float


def watch(stack: Stack, seconds: float) -> tuple[list[Sight], list[Takeover]]:
    """Return what became visible in so many seconds, and which runs took the stream meanwhile."""
    with closing(psycopg2.connect(stack.databases.admin(BUSINESS))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        epoch, low = _first_position(stack, cursor)
        begin = time.time()
        seen: set[int] = set()
        sights: list[Sight] = []
        while time.time() < begin + seconds:
            # Rows may become visible out of order.
            cursor.execute(NEW_ROWS, (epoch, low))
            rows, now = cursor.fetchall(), time.time()
            sights += [Sight(now, now - at) for offset, at in rows if offset not in seen]
            seen.update(offset for offset, _ in rows)
            while low + 1 in seen:
                low += 1
                seen.discard(low)
            time.sleep(ASK_SECONDS)
        stack.check()
        cursor.execute(TAKEOVERS, (begin,))
        runs = cursor.fetchall()
    if not sights:
        raise BenchError("no row became visible under the scheduler")
    with closing(psycopg2.connect(stack.databases.admin(METADATA))) as connection:
        return sights, [Takeover(at, at - _begun(connection.cursor(), run)) for at, run in runs]


def _begun(cursor: Any, run_id: str) -> float:
    cursor.execute(BEGUN, (run_id,))
    (begun,) = cursor.fetchone()
    return float(begun)


def _first_position(stack: Stack, cursor: Any) -> tuple[str, int]:
    """Wait until the first run has caught up with what was made before it."""
    deadline = time.monotonic() + FIRST_ROW_SECONDS
    while time.monotonic() < deadline:
        stack.check()
        cursor.execute(POSITION)
        if cursor.fetchone():
            time.sleep(WARM_UP_SECONDS)
            cursor.execute(POSITION)
            (found,) = cursor.fetchall()
            return str(found[0]), int(found[1])
        time.sleep(1)
    raise BenchError(f"the scheduler brought no row within {FIRST_ROW_SECONDS} s")


def fill(section: Section, sights: list[Sight], takeovers: list[Takeover], note: str) -> Section:
    """Put the figures into the section."""
    ages = sorted(sight.age for sight in sights)
    waits = [
        max((s.age for s in sights if abs(s.at - takeover.at) < AROUND_SECONDS), default=0.0)
        for takeover in takeovers
    ]
    for percent in (50, 90, 99):
        at = min(len(ages) * percent // 100, len(ages) - 1)
        section.figures[f"p{percent}"] = (ages[at] * 1000, "ms")
    section.figures["max"] = (ages[-1] * 1000, "ms")
    section.figures["events"] = (len(ages), "rows")
    section.figures["takeovers"] = (len(waits), "runs that took the stream from another")
    if waits:
        section.figures["takeover, median"] = (statistics.median(waits), "s")
        section.figures["takeover, worst"] = (max(waits), "s")
        least = min(takeover.waited for takeover in takeovers)
        section.figures["the next run was there before, least"] = (least, "s")
    section.notes = [
        note,
        f"takeover: the oldest event seen within {AROUND_SECONDS:.0f} s of a run's start",
    ]
    say("  takeovers: " + ", ".join(f"{wait:.2f}" for wait in waits))
    return section
