"""Wrong settings of `make demo` are named in one line, before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from demo.settings import Settings, SettingsError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RESTAURANT_RUN_SECONDS": "abc"}, "RESTAURANT_RUN_SECONDS is 'abc'"),
        ({"RESTAURANT_RUN_SECONDS": "0"}, "RESTAURANT_RUN_SECONDS is '0'"),
        ({"DEMO_API_PORT": "http"}, "DEMO_API_PORT is 'http'"),
        ({"DEMO_API_PORT": "8081"}, "DEMO_API_PORT and DEMO_WEB_PORT are both 8081"),
        ({"DEMO_METRICS_PORT": "8000"}, "DEMO_API_PORT and DEMO_METRICS_PORT are both 8000"),
        ({"DEMO_PG_PORT": "8000"}, "DEMO_API_PORT and DEMO_PG_PORT are both 8000"),
    ],
)
def test_a_wrong_variable_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.for_demo(environment)


def test_the_embedded_servers_port_does_not_matter_to_another_server() -> None:
    environment = {"DEMO_PG_PORT": "8000", "DATABASE_URL": "postgresql://postgres@127.0.0.1/x"}
    assert Settings.for_demo(environment).database_url is not None


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_is_no_state_folder(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    done = subprocess.run(
        [sys.executable, "-m", "demo", "up"],
        cwd=ROOT,
        env={**os.environ, "DEMO_STATE": str(file / below)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {file / below} cannot be the state folder")
    assert done.stderr.count("\n") == 1
    assert file.read_text() == "mine"
