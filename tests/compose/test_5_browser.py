"""What a person sees: pgAdmin behind its login with our server, Airflow with a finished run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from containers import ROOT, Containers
from playwright.sync_api import Page, expect, sync_playwright

DAG = "restaurant_realtime_stream"
SCREENSHOTS = ROOT / ".cache" / "screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
]


@pytest.fixture
def page() -> Iterator[Page]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "no Chromium on PATH: install your system's package (Debian: chromium)"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        one = browser.new_page(viewport={"width": 1400, "height": 900})
        one.set_default_timeout(90_000)
        expect.set_options(timeout=90_000)
        yield one
        browser.close()


def test_pgadmin_asks_for_a_login_and_knows_the_server(stack: Containers, page: Page) -> None:
    settings = stack.settings
    url = f"http://127.0.0.1:{settings['PGADMIN_EXTERNAL_PORT']}"
    page.goto(f"{url}/browser/")
    page.wait_for_url("**/login**")
    expect(page.locator("input[name=email]")).to_be_visible()
    shoot(page, "pgadmin-login")
    page.fill("input[name=email]", settings["PGADMIN_DEFAULT_EMAIL"])
    page.fill("input[name=password]", settings["PGADMIN_DEFAULT_PASSWORD"])
    page.get_by_role("button", name="Login").click()
    page.wait_for_url("**/browser/**")
    group = page.get_by_text("sse-stream", exact=False).first
    expect(group).to_be_visible()
    for role in ("analytics_reader", "restaurant_user"):
        server = page.get_by_text(f"{role} (").first
        if not server.is_visible():
            group.dblclick()
        expect(server).to_be_visible()
    shoot(page, "pgadmin-servers")


def test_airflow_shows_a_finished_run(stack: Containers, page: Page) -> None:
    stack.must("smoke")
    settings = stack.settings
    url = f"http://127.0.0.1:{settings['AIRFLOW_EXTERNAL_PORT']}"
    run_id = stack.sql(
        f"select run_id from dag_run where dag_id = '{DAG}' and state = 'success'"
        " order by start_date desc limit 1",
        "airflow_db",
    )
    page.goto(f"{url}/login/")
    page.fill("#username", settings["AIRFLOW_ADMIN_USER"])
    page.fill("#password", settings["AIRFLOW_ADMIN_PASSWORD"])
    page.click("input[type=submit]")
    page.goto(f"{url}/dags/{DAG}/grid?{urlencode({'dag_run_id': run_id})}")
    expect(page.get_by_role("row", name="Status success")).to_be_visible()
    shoot(page, "compose-airflow-run")


def shoot(page: Page, name: str) -> None:
    path: Path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size > 10_000
