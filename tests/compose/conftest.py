"""The stack in containers, as `make compose-test` starts it: a project of its own beside any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Containers


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """A started stack under load; what fails leaves its last words in the report."""
    running = Containers(tmp_path_factory.mktemp("compose"))
    running.must("env")
    # What an interrupted session left has other secrets.
    running.must("destroy", YES="1")
    try:
        print(running.must("up").stdout)
        yield running
    finally:
        running.must("destroy", YES="1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
