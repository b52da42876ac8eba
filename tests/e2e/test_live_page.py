"""The live page in a real browser, on the running demo: the tests beside the page, started here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
import psycopg2
import pytest
from demo.database import BUSINESS
from running_demo import ROOT, Demo, await_true

pytestmark = pytest.mark.timeout(300)

UI = ROOT / "src" / "metrics-api" / "ui"


def test_the_live_page_keeps_what_it_promises(demo: Demo) -> None:
    assert (UI / "node_modules").is_dir(), "the page's tools are not installed: run make test-ui"
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "no Chromium on PATH: install your system's package (Debian: chromium)"
    with reading(demo):
        done = subprocess.run(
            ["npm", "run", "--silent", "browser"],
            cwd=UI,
            env={
                **os.environ,
                "CHROMIUM": chromium,
                "PAGE_URL": demo.settings.metrics_url,
                "DATABASE_URL": demo.stack.databases.admin(BUSINESS),
                "GENERATOR_PID": str(pid_of(demo, "restaurant-api")),
                "SERVER_PID": str(pid_of(demo, "metrics-api")),
            },
            stdin=subprocess.DEVNULL,
            check=False,
        )
    assert done.returncode == 0, "the page's tests failed; their output stands above"


@contextmanager
def reading(demo: Demo) -> Iterator[None]:
    """Keep the stream read: the runs of these tests are short and leave pauses, which the page shows."""
    command = [sys.executable, "-m", "sse_stream", "run", f"{demo.settings.api_url}/stream"]
    reader = subprocess.Popen(
        [*command, "--preset=restaurant", "--quiet"],
        cwd=demo.settings.state,
        env={**os.environ, "DATABASE_URL": demo.stack.databases.url("restaurant_user")},
        stdin=subprocess.DEVNULL,
    )
    try:
        # After the run of Airflow that has the stream now.
        await_true(lambda: has_stream(demo), 120, lambda: ended(reader))
        yield
    finally:
        reader.terminate()
        reader.wait(30)


def has_stream(demo: Demo) -> bool:
    """Tell whether a run that no DAG started is reading."""
    with closing(psycopg2.connect(demo.stack.databases.admin(BUSINESS))) as connection:
        cursor = connection.cursor()
        cursor.execute("select from sse_stream.runs where dag_id = '' and ended_at is null")
        return cursor.fetchone() is not None


def ended(reader: subprocess.Popen[bytes]) -> str | None:
    return None if reader.poll() is None else f"the reader ended with {reader.returncode}"


def pid_of(demo: Demo, name: str) -> int:
    """The process of the demo that runs the program `name`."""
    (found,) = [each.pid for each in psutil.Process(demo.pid).children() if each.name() == name]
    return found
