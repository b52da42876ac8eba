"""The contestant of the house: one call of SSEStreamOperator.execute in a process with Airflow.

There is no scheduler and no Variable (`offset_variable=None`): both would need Airflow's own
database, and neither is paid per event.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from typing import Any
from urllib.parse import urlsplit

from bench import contest

HOME = tempfile.TemporaryDirectory(prefix="sse-stream-bench-airflow-")
# Before Airflow is imported, which reads its configuration then.
os.environ.update(
    {
        "AIRFLOW_HOME": HOME.name,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME.name}/airflow.db",
    }
)

import airflow.models  # noqa: E402, F401
from sqlalchemy.orm import configure_mappers  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: E402

from sse_stream import SSEStreamOperator  # noqa: E402

REPORTED = ("events_processed", "batches_processed", "stop_reason", "duplicates", "dead_letters")


def main() -> None:
    """Build the operator, wait for the start, execute it."""
    parser = contest.arguments(__doc__)
    parser.add_argument("--writers", type=int, help="the operator's own default if left out")
    parser.add_argument("--preset", default="restaurant")
    parser.add_argument("--defaults", action="store_true", help="leave batch_size as it is")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds until the run ends")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    options = parser.parse_args()
    # Airflow's log handlers write to standard output, which belongs to the result.
    logging.disable(logging.INFO)
    os.environ["AIRFLOW_CONN_POSTGRES_RESTAURANT"] = _connection(options.database)
    more: dict[str, Any] = {} if options.defaults else {"batch_size": options.batch}
    for setting in options.set:
        name, _, value = setting.partition("=")
        more[name] = json.loads(value)
    if options.writers is not None:
        more["writers"] = options.writers
    operator = SSEStreamOperator(
        task_id="bench",
        sse_url=options.stream,
        preset=options.preset,
        max_events_per_run=options.events,
        timeout_seconds=options.timeout,
        offset_variable=None,
        **more,
    )

    # A task's process has read its task from Airflow's database before it executes anything.
    configure_mappers()

    def work() -> dict[str, Any]:
        report = operator.execute({})
        return {name: report[name] for name in REPORTED if name in report}

    contest.contend(work)


def _connection(url: str) -> str:
    parts = urlsplit(url)
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": parts.hostname,
            "port": parts.port,
            "login": parts.username,
            "password": parts.password,
            "schema": parts.path.lstrip("/"),
        }
    )


if __name__ == "__main__":
    main()
