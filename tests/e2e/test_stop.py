"""Stopping and starting again: nothing stays behind, nothing is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing

import psutil
import psycopg2
import pytest
from demo import ports
from demo.database import METADATA
from demo.smoke import verify
from running_demo import ROOT, Demo, await_true

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def running_tasks(demo: Demo) -> int:
    with closing(psycopg2.connect(demo.stack.databases.admin(METADATA))) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "select count(*) from task_instance"
            " where task_id = 'realtime_stream_processor' and state = 'running'"
        )
        row = cursor.fetchone()
        return int(row[0]) if row else 0


def everything(demo: Demo) -> list[psutil.Process]:
    """All processes of the demo: its own, theirs, and the database server's."""
    home = demo.stack.server_home
    assert home is not None
    postmaster = int((home / "data" / "postmaster.pid").read_text().splitlines()[0])
    found = []
    for pid in (demo.pid, postmaster):
        process = psutil.Process(pid)
        found += [process, *process.children(recursive=True)]
    return found


def alive(processes: list[psutil.Process]) -> list[str]:
    return [
        f"{process.pid} {' '.join(process.cmdline())}"
        for process in processes
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def listening(demo: Demo) -> list[int]:
    settings = demo.settings
    wanted = (settings.pg_port, settings.api_port, settings.web_port, settings.metrics_port)
    return [port for port in wanted if not ports.is_free(port)]


def test_ctrl_c_in_the_middle_of_a_task_leaves_nothing_and_the_next_start_resumes(
    demo: Demo,
) -> None:
    await_true(lambda: running_tasks(demo) > 0, 120)
    before = demo.position()
    processes = everything(demo)
    assert len(processes) > 10
    assert demo.down(signal.SIGINT) == 0, demo.text()
    try:
        assert alive(processes) == []
        assert listening(demo) == []
    finally:
        demo.up()
    assert demo.position() >= before
    here = demo.position()
    await_true(lambda: demo.position() > here, 180)
    outcome = verify(demo.stack.databases, demo.settings.api_url)
    assert not outcome.differences, outcome.report()


def test_a_demo_that_was_killed_is_cleared_by_the_next_start(demo: Demo) -> None:
    processes = everything(demo)
    assert demo.down(signal.SIGKILL) == -signal.SIGKILL
    assert alive(processes), "a killed demo cannot stop its programs"
    here = None
    try:
        here = demo.position()
    finally:
        demo.up()
    assert alive(processes) == []
    await_true(lambda: demo.position() > (here or 0), 240)
    outcome = verify(demo.stack.databases, demo.settings.api_url)
    assert not outcome.differences, outcome.report()


def test_a_second_demo_on_the_same_state_is_refused(demo: Demo) -> None:
    done = run_up(demo.environment)
    assert done.returncode == 1
    assert f"process {demo.pid} already runs" in done.stderr
    assert listening(demo), "the first demo goes on"


@pytest.mark.parametrize("variable", ["DEMO_PG_PORT", "DEMO_API_PORT", "DEMO_METRICS_PORT"])
def test_a_busy_port_is_named_with_its_process(
    variable: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fresh = Demo(tmp_path_factory.mktemp("busy") / "state")
    try:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", int(fresh.environment[variable])))
            holder.listen()
            done = run_up(fresh.environment)
        assert done.returncode == 1
        assert (
            f"port {fresh.environment[variable]} is taken by process {os.getpid()}" in done.stderr
        )
        assert f"{variable}=..." in done.stderr
    finally:
        fresh.remove()


def run_up(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demo", "up"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
