"""The proof: a stack of its own, a scheduled run to its end, every row compared, all stopped."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import psycopg2.extensions
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ
from psycopg2.extras import register_default_jsonb

from demo.database import BUSINESS, METADATA, Databases
from demo.oracle import Comparison, compare
from demo.settings import Settings
from demo.stack import Stack, StageError, exclusive

DAG = "restaurant_realtime_stream"
RUN_SECONDS = 300

_RUNS = "select run_id, state from dag_run where dag_id = %s order by start_date nulls last"
_TASKS = "select run_id, task_id, state from task_instance where dag_id = %s order by start_date"


def smoke(settings: Settings) -> int:
    """Run the whole proof; print counts, or the stage that failed; return the exit code."""
    with exclusive(settings):
        stack = Stack(settings)
        try:
            _start_fresh(stack)
            run_id = wait_for_run(stack)
            print(f"  scheduler: run {run_id} succeeded", flush=True)
            outcome = verify(stack.databases, settings.api_url)
            print(outcome.report(), flush=True)
            if outcome.differences:
                raise StageError("failed at: comparing every row")
            prove_comparison(stack.databases, settings.api_url)
        except (StageError, OSError, ValueError, psycopg2.Error) as error:
            print(f"smoke failed\n{error}\nlogs: {settings.logs}", file=sys.stderr, flush=True)
            return 1
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr, flush=True)
            return 130
        finally:
            stack.down()
        # A failed proof keeps its data for whoever looks; a passed one has nothing more to say.
        stack.forget_data()
    print("smoke passed: every row of every table is what the events say", flush=True)
    return 0


def wait_for_run(stack: Stack, *, timeout_seconds: float = RUN_SECONDS) -> str:
    """Return the id of the first run of the DAG that succeeded; raise StageError if one failed."""
    deadline = time.monotonic() + timeout_seconds
    with closing(psycopg2.connect(stack.databases.admin(METADATA))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        while time.monotonic() < deadline:
            stack.check()
            cursor.execute(_RUNS, [DAG])
            for run_id, state in cursor.fetchall():
                if state == "success":
                    return str(run_id)
                if state == "failed":
                    raise StageError(
                        f"failed at: run {run_id} of {DAG}\n{_tasks(stack, connection)}"
                    )
            time.sleep(1)
        raise StageError(
            f"failed at: no run of {DAG} succeeded within {timeout_seconds:.0f} s\n"
            f"{_tasks(stack, connection)}"
        )


def verify(databases: Databases, api_url: str) -> Comparison:
    """Compare every row in one snapshot of the database."""
    with snapshot(databases) as connection:
        return compare(connection, api_url)


def prove_comparison(databases: Databases, api_url: str) -> None:
    """See that one row changed by hand is found; the change is rolled back. Raise StageError."""
    with snapshot(databases) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "update analytics.payments set amount = amount + 0.01 where payment_id ="
            " (select payment_id from analytics.payments order by payment_id limit 1)"
        )
        differences = compare(connection, api_url).differences
    columns = {(found.table, found.column) for found in differences}
    wanted = {
        ("analytics.payments", "amount"),
        ("analytics.payments", "sum of amount"),
        # The triggers count what people change, too.
        ("analytics.payments_by_minute", "numbers"),
    }
    if columns != wanted:
        raise StageError(
            "failed at: proving the comparison; a cent added to one payment gave "
            f"{sorted(columns)} instead of {sorted(wanted)}"
        )


@contextmanager
def snapshot(databases: Databases) -> Iterator[psycopg2.extensions.connection]:
    """Give a superuser's connection in one snapshot, rolled back at the end."""
    with closing(psycopg2.connect(databases.admin(BUSINESS))) as connection:
        connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ)
        register_default_jsonb(connection, loads=lambda text: text)
        yield connection
        connection.rollback()


def _start_fresh(stack: Stack) -> None:
    stack.forget_data()
    # The lock file of this very run stays: removing it would let a second run in.
    for path in stack.settings.state.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    stack.settings.make_state()
    stack.up()


def _tasks(stack: Stack, connection: psycopg2.extensions.connection) -> str:
    cursor = connection.cursor()
    cursor.execute(_TASKS, [DAG])
    lines = [f"  {run_id} {task}: {state}" for run_id, task, state in cursor.fetchall()]
    return "\n".join([*(lines or ["  the scheduler started no task"]), *_task_errors(stack)])


def _task_errors(stack: Stack) -> Iterator[str]:
    """Yield the last words of every attempt that failed, out of Airflow's task logs."""
    logs = stack.settings.state / "airflow" / "logs" / f"dag_id={DAG}"
    for log in sorted(logs.glob("run_id=*/task_id=*/attempt=*.log")):
        lines = log.read_text(errors="replace").splitlines()
        ends = [number for number, line in enumerate(lines) if "Marking task as" in line]
        # Above the verdict of an attempt that failed stands its exception, if it had one.
        if ends and "SUCCESS" not in lines[ends[-1]]:
            yield f"{log.parent.name}, {log.stem}: {lines[max(ends[-1] - 1, 0)]}"
