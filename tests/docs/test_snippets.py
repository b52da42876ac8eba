"""Every snippet of README and docs is run: page by page, in the order of the page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from doc_blocks import Page, matches, read_page
from doc_preludes import airflow_database, prepare
from doc_world import ROOT, World

PAGES = {
    path.relative_to(ROOT).as_posix(): read_page(path)
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    if path.parent.name != "feeds"  # test_feed_pages.py
}


def _runs_something(page: Page) -> bool:
    return page.world != "none"


RUNNABLE = [name for name, page in PAGES.items() if _runs_something(page)]


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh Airflow database."""
    return airflow_database(tmp_path_factory.mktemp("airflow"))


@contextmanager
def _world(folder: Path) -> Iterator[World]:
    world = World(folder, os.environ["TEST_DATABASE_URL"])
    try:
        yield world
    finally:
        world.close()


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_page_does_what_it_says(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    page = PAGES[name]
    with _world(tmp_path) as world:
        if any(word in block.text for block in page.blocks for word in ("airflow ", "@dag")):
            world.lend_airflow(request.getfixturevalue("airflow"))
        prepare(world, page.world)
        for block in page.blocks:
            world.run(block)
        world.run_dags()


@pytest.mark.parametrize(
    "name", [name for name, page in PAGES.items() if not _runs_something(page)]
)
def test_a_page_without_a_world_has_nothing_to_run(name: str) -> None:
    for block in PAGES[name].blocks:
        reason = block.markers.get("not run")
        assert reason or block.language == "text", f"{block}: name a world or say why it is not run"


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd", "a\nd", True),
        ("a\n...", "a\nb", True),
        ("5 ... done", "5 events done", True),
        ("5 ... done", "5 events\ndone", False),
        ("a", "a\nb", False),
        ("a.c", "abc", False),
    ],
)
def test_output_is_compared_with_what_is_shown(expected: str, actual: str, same: bool) -> None:
    assert matches(expected, actual) is same
