"""What a killed demo left behind is ended; a stranger with its number is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from demo.processes import Children, members
from running_demo import await_true

# A program whose child ignores the polite signal, and has gone into a session of its own.
STUBBORN = (
    "import subprocess, sys, time;"
    "code = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)';"
    "subprocess.Popen([sys.executable, '-c', code], start_new_session=True); time.sleep(60)"
)


def start(children: Children, folder: Path) -> int:
    child = children.start(
        "stubborn",
        [sys.executable, "-c", STUBBORN],
        environment=os.environ,
        log=folder / "log",
        cwd=folder,
    )
    await_true(lambda: len(members(child.session)) == 2, 10)
    return child.session


def test_stopping_reaches_the_children_in_other_sessions(tmp_path: Path) -> None:
    children = Children(tmp_path / "ledger.json")
    session = start(children, tmp_path)
    everyone = members(session)
    children.kill()
    assert not any(process.is_running() and process.status() != "zombie" for process in everyone)


def test_the_next_start_ends_what_a_killed_one_left(tmp_path: Path) -> None:
    session = start(Children(tmp_path / "ledger.json"), tmp_path)
    everyone = members(session)
    assert Children(tmp_path / "ledger.json").sweep() == 1
    assert not any(process.is_running() and process.status() != "zombie" for process in everyone)
    assert Children(tmp_path / "ledger.json").sweep() == 0


def test_a_stranger_with_a_leftovers_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True, cwd="/") as stranger:
        try:
            (tmp_path / "ledger.json").write_text(json.dumps([stranger.pid]))
            assert Children(tmp_path / "ledger.json").sweep() == 0
            assert stranger.poll() is None
        finally:
            stranger.kill()
