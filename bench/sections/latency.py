"""From the time of an event to its visible row, with the operator's default settings.

The real generator makes events at a pace and stamps them; a second session asks every millisecond
for new rows and notes when it saw each. So the figure holds the generator's own delay, the way
through socket, engine and commit, and up to a millisecond of asking. Asking costs some of the
machine too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from demo.http import get_json

from bench.contestants import compete, ours
from bench.corpus import generator
from bench.laboratory import Laboratory, say
from bench.plan import BenchError
from bench.results import Section
from bench.targets import RAW

ASK_SECONDS = 0.001
WARM_UP_SECONDS = 3
NEW_ROWS = """
select event_offset, extract(epoch from ts)::float8 from raw_data.events_raw
where epoch = %s and event_offset > %s order by event_offset
"""


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """Watch three paces: the day's own rhythm, 500 events/s, half of what raw COPY can."""
    section = Section("Latency: time of the event to visible row, default settings")
    ceiling = sections["throughput"].median(RAW, "rate") if "throughput" in sections else None
    half = (ceiling or lab.ceiling("ours", 1).rate) / 2
    seconds = 20 if lab.plan.quick else 60
    for name, pace in (
        ("natural", None),
        ("500/s", 500.0),
        ("half the ceiling", half),
    ):
        ages = sorted(_watch(lab, pace, seconds))
        if not ages:
            raise BenchError(f"no row became visible at the pace {name}")
        for percent in (50, 90, 99):
            section.figures[f"{name} p{percent}"] = (_percentile(ages, percent), "ms")
        section.figures[f"{name} max"] = (ages[-1], "ms")
        section.figures[f"{name} events"] = (len(ages), f"rows in {seconds} s")
        say(f"  {name}: p50 {_percentile(ages, 50):.1f} ms, p99 {_percentile(ages, 99):.1f} ms")
    section.notes = [
        f"half the ceiling: {half:,.0f} events/s; rows are asked for every millisecond",
        f"the first {WARM_UP_SECONDS} s of each run are left out",
    ]
    return section


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


def _watch(lab: Laboratory, pace: float | None, seconds: int) -> list[float]:
    """Return the ages in milliseconds at which rows became visible."""
    with (
        generator(*([f"--events-per-second={pace:.0f}"] if pace else [])) as (url, _),
        lab.cluster.database("ours") as database,
    ):
        # The days of the corpus are long gone: the generator's are today's, which exist.
        epoch = get_json(f"{url}/health")["epoch"]
        run = threading.Thread(
            target=compete,
            args=(
                ours("ours", "--defaults", f"--timeout={seconds + WARM_UP_SECONDS}"),
                lab.cluster,
                database,
                f"{url}/stream",
                1 << 40,
            ),
        )
        run.start()
        with closing(lab.cluster.connect(database)) as connection:
            ages = _ask(connection.cursor(), epoch, run)
        run.join()
        return ages


def _ask(cursor: Any, epoch: str, run: threading.Thread) -> list[float]:
    """Ask for new rows while `run` runs; rows may become visible out of order."""
    low, seen, ages = -1, set[int](), list[float]()
    begin: float | None = None
    while run.is_alive():
        cursor.execute(NEW_ROWS, (epoch, low))
        rows, now = cursor.fetchall(), time.time()
        if rows and begin is None:
            begin, low = now + WARM_UP_SECONDS, rows[0][0] - 1
        for offset, at in rows:
            if offset not in seen:
                seen.add(offset)
                if begin is not None and at >= begin:
                    ages.append((now - at) * 1000)
        while low + 1 in seen:
            low += 1
            seen.discard(low)
        time.sleep(ASK_SECONDS)
    return ages
