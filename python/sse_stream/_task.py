"""What the engine is told of the Airflow task that runs it, and where its log goes."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

__all__ = ["engine_log", "engine_logger", "identity"]

# A child of Airflow's own task logger, so that the engine's lines stand in the task's log.
engine_logger = logging.getLogger("airflow.task.sse_stream")


def engine_log(level: int, target: str, message: str) -> None:
    """Write one line of the engine to the task's log."""
    engine_logger.log(level, "%s: %s", target, message)


def identity(context: Any) -> dict[str, Any]:
    """Return who runs, for the run history: empty texts where Airflow does not tell."""
    ti = context.get("ti") if context else None
    return {
        "dag_id": str(getattr(ti, "dag_id", "") or ""),
        "task_id": str(getattr(ti, "task_id", "") or ""),
        "run_id": str(getattr(ti, "run_id", "") or ""),
        "map_index": int(getattr(ti, "map_index", -1)),
        "try_number": int(getattr(ti, "try_number", 0) or 0),
        "log_url": str(getattr(ti, "log_url", "") or ""),
        "owner": f"{socket.gethostname()}:{os.getpid()}",
    }
