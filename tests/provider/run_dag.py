"""Run one of the example DAGs as ``dag.test()`` does, and print what became of it as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models import DagBag

EXAMPLES = Path(__file__).resolve().parents[2] / "python/sse_stream/example_dags"


def main(dag_id: str) -> None:
    bag = DagBag(str(EXAMPLES / f"{dag_id}.py"))
    assert not bag.import_errors, bag.import_errors
    if hasattr(bag, "sync_to_db"):  # 2.11, which drops the events of datasets it never met
        bag.sync_to_db()
    run = bag.dags[dag_id].test()
    states = {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in run.get_task_instances()}
    print("RESULT" + json.dumps({"state": str(run.state), "tasks": states, "events": events()}))


def events() -> list[Any]:
    """The extras of all asset events, from the metadata database."""
    engine = create_engine(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    with engine.connect() as connection:
        names = connection.execute(text("select name from sqlite_master")).scalars().all()
        table = "asset_event" if "asset_event" in names else "dataset_event"
        rows = connection.execute(text(f"select extra from {table} order by id")).scalars().all()
    return [json.loads(row) if isinstance(row, str) else row for row in rows]


if __name__ == "__main__":
    main(sys.argv[1])
