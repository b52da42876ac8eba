"""The DAG folder as a real Airflow sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: Airflow reads its configuration when it is imported.
_DESCRIBE = """
import json, sys
from airflow.models import DagBag
bag = DagBag(sys.argv[1], include_examples=False, safe_mode=False)
print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    "dags": {dag_id: {
        "schedule": dag.schedule_interval,
        "catchup": dag.catchup,
        "active": dag.max_active_runs,
        "paused": dag.is_paused_upon_creation,
        "start": dag.start_date.isoformat(),
        "tags": sorted(dag.tags),
        "retries": dag.default_args.get("retries"),
        "params": dag.params.dump(),
        "tasks": {t.task_id: sorted(t.downstream_task_ids) for t in dag.tasks},
        "delays": {t.task_id: [t.retries, t.retry_delay.total_seconds()] for t in dag.tasks},
        "cycle_free": bool(dag.topological_sort()),
    } for dag_id, dag in bag.dags.items()},
}))
"""


def _describe(home: Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _DESCRIBE, str(ROOT / "dags")],
        env={
            **{name: text for name, text in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.partition("RESULT")[2])
    return result


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _describe(tmp_path_factory.mktemp("airflow"))


def test_every_file_imports(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert set(bag["dags"]) == {path.stem for path in (ROOT / "dags").glob("*.py")}
    assert all(dag["cycle_free"] for dag in bag["dags"].values())


def test_nothing_catches_up(bag: dict[str, Any]) -> None:
    assert [name for name, dag in bag["dags"].items() if dag["catchup"]] == []


def test_the_stream_waits_reads_and_then_checks_in_parallel(bag: dict[str, Any]) -> None:
    dag = bag["dags"]["restaurant_realtime_stream"]
    after = ["data_quality_check", "refresh_analytics_views", "system_health_monitor"]
    assert dag["tasks"] == {
        "stream_health_check": ["realtime_stream_processor"],
        "realtime_stream_processor": after,
        **{task_id: [] for task_id in after},
    }
    assert dag["schedule"] == "* * * * *"
    assert dag["active"] == 2
    assert dag["paused"] is False
    assert dag["retries"] == 3
    assert dag["start"].startswith("2025-10-01")
    assert dag["tags"] == ["realtime", "restaurant", "sse", "streaming"]
    assert dag["params"]["run_seconds"] == 300


def test_a_stream_that_was_told_to_stop_is_read_again_within_seconds(bag: dict[str, Any]) -> None:
    delays = bag["dags"]["restaurant_realtime_stream"]["delays"]
    assert delays["realtime_stream_processor"] == [10, 5.0]
    assert delays["refresh_analytics_views"] == [3, 60.0]


def test_the_polling_fallback_is_paused(bag: dict[str, Any]) -> None:
    dag = bag["dags"]["restaurant_stream_ingest"]
    assert dag["paused"] is True
    assert dag["active"] == 1
    assert dag["tasks"] == {"fetch_and_load": []}


def test_retention_is_its_own_daily_dag(bag: dict[str, Any]) -> None:
    dag = bag["dags"]["restaurant_retention"]
    assert dag["schedule"] == "@daily"
    assert dag["tasks"] == {"ensure_partitions": ["apply_retention"], "apply_retention": []}
    assert dag["params"] == {
        "raw_days": 7,
        "audit_days": 30,
        "runs_days": 30,
        "settled_days": 90,
        "rollup_days": 400,
    }


def test_dead_letters_are_replayed_by_hand(bag: dict[str, Any]) -> None:
    dag = bag["dags"]["restaurant_dead_letters"]
    assert dag["schedule"] in (None, "None")
    assert dag["tasks"] == {"replay": []}
    assert dag["params"] == {
        "reasons": None,
        "event_types": None,
        "limit": 10_000,
        "fail_if_left": False,
    }


def test_the_run_length_can_be_set_by_environment(tmp_path: Path) -> None:
    found = _describe(tmp_path, RESTAURANT_RUN_SECONDS="30")
    assert found["dags"]["restaurant_realtime_stream"]["params"]["run_seconds"] == 30


@pytest.mark.parametrize("text", ["abc", "0", "1.5", "-30"])
def test_a_wrong_run_length_is_named(tmp_path: Path, text: str) -> None:
    (error,) = _describe(tmp_path, RESTAURANT_RUN_SECONDS=text)["errors"].values()
    last = error.strip().splitlines()[-1]
    assert last.startswith(f"ValueError: RESTAURANT_RUN_SECONDS is '{text}'")
