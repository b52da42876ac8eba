"""Run when a stream has brought rows, and know which: the event's extra tells.

What ``example_sse_deferrable`` lands wakes this DAG.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow import DAG

try:
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:
    from airflow.operators.python import PythonOperator

from sse_stream import stream_asset

ROWS = stream_asset("restaurant")


def tell(triggering_asset_events: Any = None, triggering_dataset_events: Any = None) -> list[Any]:
    """Return the offsets that this run is about."""
    events = triggering_asset_events or triggering_dataset_events or {}
    told = [event.extra for asset_events in events.values() for event in asset_events]
    return [[extra.get("first_offset"), extra.get("last_offset")] for extra in told]


with DAG(
    dag_id="example_sse_on_data",
    schedule=[ROWS],
    start_date=datetime(2025, 10, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["example", "sse"],
    doc_md=__doc__,
):
    PythonOperator(task_id="tell", python_callable=tell)
