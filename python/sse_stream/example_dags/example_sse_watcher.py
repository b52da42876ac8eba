"""Airflow 3: a stream wakes a DAG by itself, through an ``AssetWatcher``.

The triggerer watches the stream and begins at the committed offset; the run lands the events. In
Airflow 2.11 this file holds no DAG.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone

from airflow import DAG

from sse_stream import SSEStreamOperator, StreamEventTrigger

try:
    from airflow.sdk import Asset, AssetWatcher
except ImportError:
    pass
else:
    URL = os.environ.get("SSE_EXAMPLE_URL", "http://127.0.0.1:8000/stream")
    news = Asset(
        name="restaurant_events",
        uri="sse-stream://restaurant/events",
        watchers=[
            AssetWatcher(
                name="restaurant_stream",
                trigger=StreamEventTrigger(
                    sse_url=URL,
                    postgres_conn_id="postgres_restaurant",
                    stream="restaurant",
                    preset="restaurant",
                    min_seconds=60,
                ),
            )
        ],
    )
    with DAG(
        dag_id="example_sse_watcher",
        schedule=[news],
        start_date=datetime(2025, 10, 1, tzinfo=timezone.utc),
        catchup=False,
        max_active_runs=1,
        tags=["example", "sse"],
        doc_md=__doc__,
    ):
        SSEStreamOperator(
            task_id="ingest",
            sse_url=URL,
            max_events_per_run=None,
            timeout_seconds=50,
            idle_timeout_seconds=5,
        )
