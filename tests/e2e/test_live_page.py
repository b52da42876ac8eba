"""The live page in a real browser, on the running demo: the tests beside the page, started here."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from demo.database import BUSINESS
from demo.http import get_json
from running_demo import ROOT, Demo, await_true

pytestmark = pytest.mark.timeout(300)

UI = ROOT / "src" / "metrics-api" / "ui"


def test_the_live_page_keeps_what_it_promises(demo: Demo) -> None:
    await_true(lambda: has_orders(demo), 120)
    assert (UI / "node_modules").is_dir(), "the page's tools are not installed: run make test-ui"
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "no Chromium on PATH: install your system's package (Debian: chromium)"
    done = subprocess.run(
        ["npm", "run", "--silent", "browser"],
        cwd=UI,
        env={
            **os.environ,
            "CHROMIUM": chromium,
            "PAGE_URL": demo.settings.page_url,
            "DATABASE_URL": demo.stack.databases.admin(BUSINESS),
            "GENERATOR_PID": str(demo.program("restaurant-api")),
            "SERVER_PID": str(demo.program("metrics-api")),
        },
        check=False,
    )
    assert done.returncode == 0, "the page's tests failed; their output stands above"


def has_orders(demo: Demo) -> bool:
    """Tell whether anything has landed yet that the page could show."""
    return int(get_json(f"{demo.settings.page_url}/kpis")["current"]["orders"]) > 0
