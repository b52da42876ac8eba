"""How a contestant's process is measured, seen from inside: only the standard library is used.

A contestant imports what it needs and calls :func:`contend`. It then says that it is ready, waits
to be told to go, and answers with one line of JSON. So imports are in no figure.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

READY = "ready"
GO = "go"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the options that every contestant takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--stream", required=True, help="URL of the event stream")
    parser.add_argument("--database", required=True, help="postgresql:// URL of the target")
    parser.add_argument("--events", type=int, required=True, help="how many events to land")
    parser.add_argument("--batch", type=int, default=5000, help="events per transaction")
    return parser


def contend(work: Callable[[], dict[str, Any] | None]) -> None:
    """Run `work` when told to, and print what it took beside what it returned.

    Seconds are wall clock and CPU (user and system) of this process with all its threads; MiB are
    the resident size before and its peak during the work.
    """
    print(READY, flush=True)
    if sys.stdin.readline().strip() != GO:
        raise SystemExit("nobody said go")
    # Lets the kernel forget the peak of the imports.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    cpu, start = _cpu_seconds(), time.monotonic()
    told = work() or {}
    seconds = time.monotonic() - start
    result = {
        "seconds": seconds,
        "cpu_seconds": _cpu_seconds() - cpu,
        "rss_before_mib": before,
        "rss_peak_mib": _status("VmHWM"),
        **told,
    }
    print(json.dumps(result), flush=True)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)
