"""The scheduler, stopped together with its tasks.

At SIGTERM a scheduler with LocalExecutor waits for running tasks to their end, which here are five
minutes of reading; the container would be killed before. So the tasks are told too: they commit
what they have, are put up for retry, and the next start resumes at the committed offset.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType

import psutil

# How Airflow names the process of a running task.
TASK_TITLE = "airflow task"


def main() -> int:
    """Run the scheduler and return its exit code."""
    command = [sys.executable, "-m", "airflow", "scheduler", "--skip-serve-logs"]
    scheduler = subprocess.Popen(command)

    def stop(number: int, frame: FrameType | None) -> None:
        scheduler.terminate()
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if TASK_TITLE in " ".join(process.cmdline()):
                    process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return scheduler.wait()


if __name__ == "__main__":
    sys.exit(main())
