"""Read a stream only when there is something to read.

Until then the task waits in the triggerer: no worker slot is taken, and thousands of such tasks
fit into one triggerer. The offset moves only with the rows.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone

from airflow import DAG

from sse_stream import SSEStreamOperator, SSEStreamSensor, stream_asset

URL = os.environ.get("SSE_EXAMPLE_URL", "http://127.0.0.1:8000/stream")

with DAG(
    dag_id="example_sse_deferrable",
    schedule=None,
    start_date=datetime(2025, 10, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["example", "sse"],
    doc_md=__doc__,
):
    healthy = SSEStreamSensor(task_id="source_is_healthy", sse_url=URL, deferrable=True)
    enough = SSEStreamSensor(
        task_id="fifty_events_wait",
        sse_url=URL,
        wait_for_events=50,
        timeout=3600,
        deferrable=True,
    )
    ingest = SSEStreamOperator(
        task_id="ingest",
        sse_url=URL,
        max_events_per_run=50,
        timeout_seconds=60,
        deferrable=True,
        outlets=[stream_asset("restaurant")],
    )
    healthy >> enough >> ingest
