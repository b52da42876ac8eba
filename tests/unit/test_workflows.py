"""The workflows call what the Makefile has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _commands(workflow: Path) -> list[str]:
    jobs: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    return [step["run"] for step in steps if "run" in step]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_target_exists(workflow: Path) -> None:
    called = {name for run in _commands(workflow) for name in re.findall(r"\bmake ([\w-]+)", run)}
    assert called <= TARGETS


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_lock_and_script_exists(workflow: Path) -> None:
    text = workflow.read_text()
    (locks,) = re.findall(r"lock: \[([^\]]*)\]", text) or [""]
    for lock in filter(None, locks.split(", ")):
        assert (ROOT / "requirements" / f"{lock}.txt").exists()
    for script in re.findall(r"\bbash (\S+)", " ".join(_commands(workflow))):
        assert (ROOT / script).exists()


def test_every_lock_is_audited() -> None:
    (locks,) = re.findall(r"lock: \[([^\]]*)\]", (ROOT / ".github/workflows/audit.yml").read_text())
    there = {path.stem for path in (ROOT / "requirements").glob("*.txt")} - {"bench"}
    assert set(locks.split(", ")) == there
