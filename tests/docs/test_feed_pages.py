"""The DAG of every page about a real feed, as it stands there, against the feed's recorded shape."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from doc_blocks import read_page
from doc_preludes import airflow_database
from doc_world import ROOT, World
from feed_server import Answer, Request, after, blocks, data, serve

PAGES = sorted((ROOT / "docs" / "feeds").glob("*.md"))
# Nobody waits nine minutes here.
SECONDS = 2


def _told(feed: str, request: Request) -> Answer:
    """What the feed sends behind the id that the request asks for, and no more afterwards."""
    token = request.headers.get("last-event-id")
    if feed == "ntfy" and request.query["since"] != "all":
        ids = [json.loads(data(block))["id"] for block in blocks(feed)]
        return Answer(blocks(feed)[ids.index(request.query["since"]) + 1 :], stays=True)
    if feed == "horizon" and request.query["cursor"] != "now":
        token = request.query["cursor"]
    return Answer(["retry: 10\n\n", *after(blocks(feed), token)], stays=True)


def test_every_page_lands_its_feed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert PAGES
    world = World(tmp_path, os.environ["TEST_DATABASE_URL"])
    world.environment["DATABASE_URL"] = world.dsn
    world.lend_airflow(airflow_database(tmp_path_factory.mktemp("airflow")))
    with serve(lambda request: _told(request.path.split("/")[1], request)) as server:
        try:
            for page in PAGES:
                _prepare(world, page, f"{server.url}/{page.stem}")
            world.run_dags()
            landed = {page.stem: _rows(world, page) for page in PAGES}
        finally:
            world.close()
    assert all(landed.values()), landed


def _prepare(world: World, page: Path, url: str) -> None:
    """Write the page's DAG, make its tables, and give it the connections that it names."""
    feed = page.stem
    (block,) = [block for block in read_page(page).blocks if block.language == "python"]
    text = re.sub(r"https://[a-z.]+(?=/)", url, block.text)
    text = re.sub(r"timeout_seconds=\d+", f"timeout_seconds={SECONDS}", text)
    path = world.folder / "dags" / f"{feed}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    world.dags.append(f"dags/{feed}.py")
    for name in re.findall(r'postgres_conn_id="(\w+)"', text):
        world.environment[f"AIRFLOW_CONN_{name.upper()}"] = world.dsn
    for name in re.findall(r'sse_conn_id="(\w+)"', text):
        source = {"conn_type": "http", "host": url, "password": "a-token"}
        world.environment[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(source)
    (command,) = re.findall(r"`DATABASE_URL=\S+ (python -m sse_stream [^`]+)`", page.read_text())
    done = world.run_bash(command)
    assert done.returncode == 0, done.stdout


def _rows(world: World, page: Path) -> int:
    """How many rows stand in the first table that the page names."""
    table = re.findall(r"^\| tables \| `([\w.]+)`", page.read_text(), re.MULTILINE)[0]
    ((count,),) = world.query(f"select count(*) from {table}")
    return int(str(count))
