"""Read one stream with several tasks side by side, on as many workers as there are.

The source shares its events out by key (``/stream?shard=i/n``). Each part has an offset, a lock and
a Variable of its own; together they land what one task would.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone

from airflow import DAG

from sse_stream import SSEStreamOperator

URL = os.environ.get("SSE_EXAMPLE_URL", "http://127.0.0.1:8000/stream")
SHARDS = int(os.environ.get("SSE_EXAMPLE_SHARDS", "3"))

with DAG(
    dag_id="example_sse_sharded",
    schedule=None,
    start_date=datetime(2025, 10, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["example", "sse"],
    doc_md=__doc__,
):
    SSEStreamOperator.partial(
        task_id="ingest",
        sse_url=URL,
        max_events_per_run=None,
        timeout_seconds=60,
        idle_timeout_seconds=2,
    ).expand(shard=[f"{index}/{SHARDS}" for index in range(SHARDS)])
