"""The restaurant stream: wait for the source, ingest, then check, watch and refresh.

A run reads the stream for ``run_seconds``. The next run starts while this one reads, waits on
the stream's lock and takes over at the committed offset, so that reading has no gap. For that a
run must last longer than the schedule's minute and the start of a task take together: 75 seconds
are enough for a busy machine, shorter runs are for tests.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.decorators import dag, task
from airflow.exceptions import AirflowException
from airflow.models.param import Param
from airflow.providers.postgres.hooks.postgres import PostgresHook

from sse_stream import SSEStreamOperator, SSEStreamSensor
from sse_stream.health import Look, failed_rules, judge, look, rules
from sse_stream.hooks import stream_status
from sse_stream.probe import fetch_health

API_URL = os.environ.get("RESTAURANT_API_URL", "http://127.0.0.1:8000").rstrip("/")
RUN_SECONDS = os.environ.get("RESTAURANT_RUN_SECONDS") or "300"
CONN_ID = "postgres_restaurant"
STREAM = "restaurant"
# The next run takes over within a second; a position that stands still for longer is stuck.
LOOKS, LOOK_SECONDS = 10, 2

# A worker that is told to stop leaves its task up for retry, and runs that wait for a retry use up
# `max_active_runs`: with minutes of delay nothing would land after a restart. A retry resumes at
# the committed offset, so an early one costs a connection at most.
STREAM_RETRIES, STREAM_RETRY_SECONDS = 10, 5

log = logging.getLogger("airflow.task")

if not RUN_SECONDS.isdecimal() or int(RUN_SECONDS) < 1:
    raise ValueError(f"RESTAURANT_RUN_SECONDS is {RUN_SECONDS!r}: give whole seconds, at least 1")


@task(retries=0)
def data_quality_check() -> list[dict[str, Any]]:
    """Fail the run if a rule is broken; the data stays and ingestion goes on."""
    found = rules(
        PostgresHook(CONN_ID).get_records("select * from analytics.validate_data_consistency()")
    )
    for rule in found:
        level = logging.INFO if rule.status == "OK" else logging.WARNING
        log.log(level, "%s: %s (%s)", rule.name, rule.status, rule.details)
    if broken := failed_rules(found):
        raise AirflowException(f"data quality rules failed: {broken}")
    return [vars(rule) for rule in found]


@task(retries=0)
def system_health_monitor(ti: Any = None) -> str:
    """Fail if the source moves and we do not; warn if the source is silent."""
    before = Look.from_json(ti.xcom_pull(ti.task_id, key="look", include_prior_dates=True))
    for _ in range(LOOKS):
        now = look(fetch_health(f"{API_URL}/health"), stream_status(CONN_ID, STREAM), STREAM)
        verdict = judge(before, now)
        if verdict.status != "failed":
            break
        time.sleep(LOOK_SECONDS)
    ti.xcom_push("look", now.to_json())
    if verdict.status == "failed":
        raise AirflowException(f"ingestion stands still: {verdict.reason}")
    log.log(logging.WARNING if verdict.status == "warning" else logging.INFO, verdict.reason)
    return verdict.reason


@task
def refresh_analytics_views() -> None:
    """Refresh the materialised views, without locking out their readers."""
    PostgresHook(CONN_ID).run("select analytics.refresh_views()")


@dag(
    schedule="* * * * *",
    start_date=datetime(2025, 10, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=2,
    is_paused_upon_creation=False,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
    params={
        "run_seconds": Param(int(RUN_SECONDS), type="integer", minimum=1),
        "max_events": Param(None, type=["null", "integer"], minimum=1),
    },
    tags=["restaurant", "streaming", "realtime", "sse"],
    doc_md=__doc__,
)
def restaurant_realtime_stream() -> None:
    """Wire the tasks."""
    healthy = SSEStreamSensor(
        task_id="stream_health_check",
        sse_url=f"{API_URL}/stream",
        mode="reschedule",
    )
    stream = SSEStreamOperator(
        task_id="realtime_stream_processor",
        sse_url=f"{API_URL}/stream",
        postgres_conn_id=CONN_ID,
        max_events_per_run="{{ params.max_events }}",
        timeout_seconds="{{ params.run_seconds }}",
        batch_size=500,
        retries=STREAM_RETRIES,
        retry_delay=timedelta(seconds=STREAM_RETRY_SECONDS),
    )
    healthy >> stream >> [data_quality_check(), system_health_monitor(), refresh_analytics_views()]


restaurant_realtime_stream()
