"""What a person sees in Airflow's own pages: the DAG, its green run, the log of its task."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from demo.settings import ADMIN
from demo.smoke import DAG, wait_for_run
from playwright.sync_api import Page, expect, sync_playwright
from running_demo import ROOT, Demo

pytestmark = pytest.mark.timeout(600)

STREAM_TASK = "realtime_stream_processor"
SCREENSHOTS = ROOT / ".cache" / "screenshots"
# A fresh profile that asks nobody outside this machine for anything.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "no Chromium on PATH: install your system's package (Debian: chromium)"
    return found


@pytest.fixture(scope="module")
def page(demo: Demo) -> Iterator[Page]:
    """A browser that has logged in as the admin that the demo printed."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        one = browser.new_page(viewport={"width": 1400, "height": 900})
        one.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        one.goto(f"{demo.settings.web_url}/login/")
        one.fill("#username", ADMIN)
        one.fill("#password", demo.settings.secrets[ADMIN])
        one.click("input[type=submit]")
        yield one
        browser.close()


def test_the_login_leads_to_the_list_of_dags(page: Page, demo: Demo) -> None:
    page.goto(f"{demo.settings.web_url}/home")
    expect(page.get_by_role("link", name=DAG, exact=True)).to_be_visible()
    shoot(page, "dags")


def test_the_grid_shows_a_green_run(page: Page, demo: Demo) -> None:
    run_id = wait_for_run(demo.stack)
    page.goto(f"{demo.settings.web_url}/dags/{DAG}/grid?{urlencode({'dag_run_id': run_id})}")
    expect(page.get_by_role("row", name="Status success")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile(f"Run ID {re.escape(run_id)}"))).to_be_visible()
    expect(page.get_by_text(STREAM_TASK).first).to_be_visible()
    shoot(page, "grid")


def test_the_task_log_shows_the_engines_progress(page: Page, demo: Demo) -> None:
    run_id = wait_for_run(demo.stack)
    where = urlencode({"dag_run_id": run_id, "task_id": STREAM_TASK, "tab": "logs"})
    page.goto(f"{demo.settings.web_url}/dags/{DAG}/grid?{where}")
    progress = page.get_by_text(re.compile(r"ingest::\w+: \d+ events committed"))
    expect(progress.first).to_be_visible()
    shoot(page, "log")


def shoot(page: Page, name: str) -> None:
    path: Path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size > 10_000
