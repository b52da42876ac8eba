"""Short runs of `make chaos`: each quick kind of fault once, every row compared."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from running_demo import ROOT

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

# Any seed must do; a fixed one makes a failure easy to repeat.
SEED = 12
# The quick kinds of every room, and those whose loss of a row would be the worst.
KINDS = (
    "connection cut",
    "task killed in a transaction",
    "task killed at any time",
    "PostgreSQL killed",
    "disk full",
    "stream cut in a line",
    "HTTP 429 with Retry-After",
    "HTML page",
    "endless line",
    "source killed",
    "two runs at once",
    "zombie and its retry",
)


# With one writer alone a table without a key is filled as well, where what lands twice stays.
ONE_WRITER = ("connection cut", "task killed in a transaction", "zombie and its retry")


@pytest.mark.parametrize(
    ("writers", "kinds"),
    [(("1", "2", "4"), KINDS), (("1",), ONE_WRITER)],
    ids=["changing writers", "one writer"],
)
def test_a_short_run_loses_and_doubles_nothing(
    writers: tuple[str, ...], kinds: tuple[str, ...]
) -> None:
    options = [f"--seed={SEED}", "--seconds=0", "--writers", *writers]
    only = [f"--only={kind}" for kind in kinds]
    done = subprocess.run(
        [sys.executable, "-m", "chaos", "--quick", *options, *only],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    table = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
    names = {cells[1].strip() for cells in table}
    # Where no small file system could be mounted, the output says so.
    assert names >= {kind for kind in kinds if f"left out: {kind}" not in done.stdout}


def test_the_schedule_follows_from_the_seed_alone() -> None:
    def schedule(seed: int) -> str:
        return subprocess.run(
            [sys.executable, "-m", "chaos", f"--seed={seed}", "--schedule=60"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    assert schedule(1) == schedule(1) != schedule(2)
