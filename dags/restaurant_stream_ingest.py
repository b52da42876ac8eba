"""The polling fallback: pages of ``/events`` until there is no more, every minute.

The same engine, tables and offset as the stream; start it only when the stream cannot be used.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from airflow.decorators import dag

from sse_stream import SSEStreamOperator

API_URL = os.environ.get("RESTAURANT_API_URL", "http://127.0.0.1:8000").rstrip("/")


@dag(
    schedule="* * * * *",
    start_date=datetime(2025, 10, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    tags=["restaurant", "polling"],
    doc_md=__doc__,
)
def restaurant_stream_ingest() -> None:
    """Wire the task."""
    SSEStreamOperator(
        task_id="fetch_and_load",
        sse_url=f"{API_URL}/events",
        source_kind="poll",
        max_events_per_run=None,
        timeout_seconds=300,
        batch_size=1000,
        lease_timeout_seconds=30,
    )


restaurant_stream_ingest()
