"""Daily: make the partitions of the coming days, drop what is older than it needs to be.

Facts and open dead letters are kept for ever.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.decorators import dag, task
from airflow.models.param import Param
from airflow.providers.postgres.hooks.postgres import PostgresHook

CONN_ID = "postgres_restaurant"

log = logging.getLogger("airflow.task")


@task
def ensure_partitions() -> int:
    """Make the day partitions around today; returns how many were missing."""
    made: int = PostgresHook(CONN_ID).get_first("select raw_data.ensure_partitions()")[0]
    return made


@task
def apply_retention(params: Any = None) -> list[list[Any]]:
    """Drop old raw events, audit, run history, settled dead letters and rollups; returns what went."""
    names = ("raw_days", "audit_days", "runs_days", "settled_days", "rollup_days")
    days = [params[name] for name in names]
    rows = PostgresHook(CONN_ID).get_records(
        "select * from analytics.apply_retention(%s, %s, %s, %s, %s)", parameters=days
    )
    for name, unit, removed in rows:
        log.info("%s: %s %s removed", name, removed, unit)
    return [list(row) for row in rows]


@dag(
    schedule="@daily",
    start_date=datetime(2025, 10, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    params={
        "raw_days": Param(7, type="integer", minimum=1),
        "audit_days": Param(30, type="integer", minimum=7),
        "runs_days": Param(30, type="integer", minimum=1),
        "settled_days": Param(90, type="integer", minimum=1),
        "rollup_days": Param(400, type="integer", minimum=7),
    },
    tags=["restaurant", "retention"],
    doc_md=__doc__,
)
def restaurant_retention() -> None:
    """Wire the tasks."""
    ensure_partitions() >> apply_retention()


restaurant_retention()
