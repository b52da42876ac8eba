"""A real `airflow triggerer` of 2.11 holds 1,000 deferred sensors; prints what its process costs.

By hand: the deferred task instances are written into the metadata database as a worker leaves
them, because a thousand worker processes would take an hour on two cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
_home = tempfile.TemporaryDirectory(prefix="sse-stream-triggerer-")
os.environ.update(
    {
        "AIRFLOW_HOME": _home.name,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": os.environ["CROWD_METADATA_URL"],
        "AIRFLOW__TRIGGERER__DEFAULT_CAPACITY": "1000",
    }
)
sys.path.insert(0, str(HERE))

from feed import Feed, until  # noqa: E402

COUNT = int(os.environ.get("CROWD", "1000"))


def deferred(url: str) -> None:
    from airflow import DAG
    from airflow.models import DagBag, DagRun, TaskInstance, Trigger
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunType

    from sse_stream import SSEStreamSensor

    now = datetime.now(timezone.utc)
    with DAG("crowd", schedule=None, start_date=datetime(2025, 1, 1, tzinfo=timezone.utc)) as dag:
        sensors = [
            SSEStreamSensor(task_id=f"wait_{n}", sse_url=url, deferrable=True) for n in range(COUNT)
        ]
    bag = DagBag(os.devnull)
    bag.bag_dag(dag, root_dag=dag)
    bag.sync_to_db()
    with create_session() as session:
        run = DagRun("crowd", "crowd", now, now, run_type=DagRunType.MANUAL)
        run.state = DagRunState.RUNNING
        session.add(run)
        session.flush()
        for sensor in sensors:
            sensor.event_types = ["wanted"]
            sensor.wait_for_events = 0
            trigger = sensor._trigger()
            trigger._settings.update(events=1, types=["wanted"])
            row = Trigger.from_object(trigger)
            session.add(row)
            session.flush()
            ti = TaskInstance(sensor, run_id="crowd", state=TaskInstanceState.DEFERRED)
            ti.trigger_id, ti.next_method, ti.next_kwargs = row.id, "execute_complete", {"began": 0}
            session.add(ti)


def cost(process: int) -> tuple[float, float]:
    status = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / 1e6, (int(status[11]) + int(status[12])) / ticks


def main() -> None:
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True)
    feed = Feed()
    deferred(f"{feed.url}/stream")
    command = [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"]
    with (Path(_home.name) / "triggerer.out").open("wb") as output:
        triggerer = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        time.sleep(15)
        print(f"before the connections: {cost(triggerer.pid)[0]:.0f} MB", flush=True)
        until(lambda: feed.listeners == COUNT, seconds=240)
        time.sleep(5)
        _, used = cost(triggerer.pid)
        time.sleep(30)
        megabytes, later = cost(triggerer.pid)
        threads = len(list(Path(f"/proc/{triggerer.pid}/task").iterdir()))
        print(
            f"{feed.listeners} waits: {megabytes:.0f} MB, {(later - used) / 30:.2f} of a core, "
            f"{threads} threads",
            flush=True,
        )
        feed.send(event="wanted")
        began = time.monotonic()
        until(lambda: feed.listeners == 0, seconds=120)
        print(f"all closed {time.monotonic() - began:.1f} s after the event", flush=True)
    finally:
        triggerer.terminate()
        triggerer.wait(60)
        feed.close()
        print((Path(_home.name) / "triggerer.out").read_text()[-1500:])


if __name__ == "__main__":
    main()
