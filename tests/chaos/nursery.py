"""The parent of task processes: forks one per order, as Airflow's executor does.

Reads one JSON object per line from standard input ({"run": 3, ...}), writes what happened to
standard output. Airflow is imported once, here, and never after a fork.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.exceptions import AirflowFailException

# A fork after this must be harmless, and no run may get another engine than the one before it.
from sse_stream import SSEStreamOperator, _native

assert _native

# How a task ends, as its exit code.
DONE, RETRY, FAIL = 0, 1, 3
DAG = "chaos"


def main() -> None:
    """Fork runs until standard input ends."""
    running: dict[int, int] = {}
    pending = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.02)
        if ready:
            data = os.read(0, 1 << 16)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    os._exit(_run(order))
                running[pid] = order["run"]
                _tell(run=order["run"], pid=pid)
        _reap(running)


def _reap(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _tell(run=running.pop(pid), ended=os.waitstatus_to_exitcode(status))


def _tell(**what: int) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _run(order: dict[str, Any]) -> int:
    devnull = os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, 0)
    os.dup2(devnull, 1)
    log = _logger(Path(order.pop("log")), order["run"])
    number = order.pop("run")
    task = SimpleNamespace(dag_id=DAG, task_id="ingest", run_id=f"run {number}", try_number=1)
    try:
        report = SSEStreamOperator(task_id="ingest", **order).execute({"ti": task})
    except AirflowFailException as error:
        log.error("failed for good: %s", error)
        return FAIL
    except Exception as error:  # noqa: BLE001 - Airflow's runner too turns everything into a retry
        log.error("failed, to be tried again: %s: %s", type(error).__name__, error)
        return RETRY
    log.info("succeeded at offset %s", report["position"])
    return DONE


def _logger(path: Path, number: int) -> logging.Logger:
    """Send the task's log, the engine's lines included, to one file, a whole line at a time."""
    handler = logging.StreamHandler(path.open("a", buffering=1))
    form = f"%(asctime)s run {number} %(levelname)s %(message)s"
    formatter = logging.Formatter(form)
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger = logging.getLogger("airflow.task")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    return logger


if __name__ == "__main__":
    main()
