"""What the provider's tests share; they run on Airflow 2.11 and on the newest 3.

A metadata database is made once and copied for each process that wants one of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# The stage of the integration tests: generator, database, oracle.
sys.path[:0] = [str(ROOT), str(HERE.parent / "integration")]

_home = tempfile.TemporaryDirectory(prefix="sse-stream-provider-")
for _name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[_name]
os.environ.update(
    {
        "AIRFLOW_HOME": _home.name,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "python/sse_stream/example_dags"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_home.name}/airflow.db",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{_home.name}/logs",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
)

from feed import Feed  # noqa: E402


@pytest.fixture
def feed() -> Iterator[Feed]:
    """A source whose events a test sends by hand."""
    feed = Feed()
    yield feed
    feed.close()


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """Airflow's home, with a migrated metadata database."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Path(_home.name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give processes of Airflow time: each imports for seconds, and more on a busy machine."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))
