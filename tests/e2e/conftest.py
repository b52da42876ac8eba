"""The stack, started once for all tests of this folder, and single servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.postgres import Server
from demo.settings import SUPERUSER, Settings
from running_demo import Demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A started demo; a test that stops it starts it again."""
    running = Demo(tmp_path_factory.mktemp("demo") / "state")
    try:
        running.up()
        yield running
    finally:
        running.remove()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that was not started yet."""
    one = Server(tmp_path / "postgres", Settings.for_smoke(tmp_path).pg_port, SUPERUSER)
    try:
        yield one
    finally:
        one.remove()
