"""Peak memory of the operator's process over what it had with Airflow imported."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from bench.contestants import compete
from bench.laboratory import Laboratory, landing, say
from bench.plan import BenchError
from bench.results import Section

FEW, MOST = 1_000_000, 10_000_000
QUICK = (100_000, 500_000)
# All tables, their indexes, the audit and the server's log, measured and rounded up.
BYTES_PER_EVENT = 1500


def measure(lab: Laboratory, sections: Mapping[str, Section]) -> Section:
    """One run each over few and over ten times as many events."""
    few, most = QUICK if lab.plan.quick else (FEW, MOST)
    free = shutil.disk_usage(lab.cluster.server.home).free
    if free < most * BYTES_PER_EVENT + (8 << 30):
        raise BenchError(
            f"{most:,} events need {most * BYTES_PER_EVENT >> 30} GiB and 8 to spare, "
            f"{free >> 30} are free on the disk of {lab.cluster.server.home}: make room, "
            "or leave the section memory out with ONLY"
        )
    section = Section("Peak memory over the process with Airflow imported")
    with lab.feed(f"--events={most}") as stream:
        for events in (few, most):
            with lab.cluster.database("ours") as database:
                sample, _ = compete(landing("ours"), lab.cluster, database, stream, events)
                lab.check(landing("ours"), database, events)
            section.samples[f"{events / 1e6:g} M events"] = [sample]
            say(f"  {events:,} events: {sample.rss_mib:.1f} MiB")
    peaks = [samples[0].rss_mib or 0.0 for samples in section.samples.values()]
    section.figures = {
        "peak, most": (peaks[1], "MiB"),
        "growth": (peaks[1] / peaks[0], "most to fewest events"),
    }
    section.notes = ["one writer, one run each; VmHWM of the process minus VmRSS before the run"]
    return section
