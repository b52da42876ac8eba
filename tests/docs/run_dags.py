"""Run DAG files as a scheduler would run each once: `python run_dags.py FILE...`."""

from __future__ import annotations

import sys
from pathlib import Path


def main(files: list[str]) -> int:
    """Test every DAG of the files; returns how many did not succeed."""
    from airflow.models import DagBag
    from airflow.utils.state import DagRunState

    failed = 0
    for file in files:
        bag = DagBag(str(Path(file).resolve()), include_examples=False, safe_mode=False)
        for path, error in bag.import_errors.items():
            print(f"{path} cannot be imported: {error}")
            failed += 1
        if not bag.dags:
            print(f"{file} holds no DAG")
            failed += 1
        for dag in bag.dags.values():
            run = dag.test()
            if run.state != DagRunState.SUCCESS:
                print(f"DAG {dag.dag_id} of {file}: {run.state}")
                failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
