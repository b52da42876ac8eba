"""What is missing on a machine is named, and interpreters are tried by running them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from running_demo import ROOT

SCRIPT = ROOT / "demo" / "prerequisites.sh"


def run(path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), *arguments],
        env={"PATH": str(path), "HOME": str(path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def dead_shim(tmp_path: Path) -> Path:
    program(tmp_path, "python3.12", "echo 'version 3.12 is not installed' >&2; exit 127")
    return tmp_path


def test_a_dead_shim_is_passed_over_for_one_that_runs(dead_shim: Path) -> None:
    program(dead_shim, "python3.11", f'exec {sys.executable} "$@"')
    done = run(dead_shim, "python")
    assert done.returncode == 0
    assert done.stdout.strip() == str(dead_shim / "python3.11")


def test_the_users_choice_comes_first(dead_shim: Path) -> None:
    done = run(dead_shim, "python", PYTHON=sys.executable)
    assert done.stdout.strip() == sys.executable


def test_an_interpreter_of_a_version_manager_is_found(dead_shim: Path) -> None:
    home = dead_shim / ".pyenv" / "versions" / "3.10.99" / "bin"
    home.mkdir(parents=True)
    real = program(home, "python", f'exec {sys.executable} "$@"')
    # A machine's own python3 would be found before it only by its fixed places.
    done = run(dead_shim, "python")
    assert done.stdout.strip() in (str(real), "/usr/bin/python3", "/usr/local/bin/python3")


def test_everything_missing_is_named_with_a_way_to_get_it(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert "missing: Rust (cargo)" in done.stderr
    assert "rustup" in done.stderr
    assert "missing: a C compiler" in done.stderr


def test_nothing_is_said_when_all_is_there() -> None:
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT)], env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
