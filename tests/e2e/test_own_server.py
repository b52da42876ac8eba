"""`DATABASE_URL`: the demo on a PostgreSQL of the user's own, here Debian's 15 where it is there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest
from demo.database import ServerTakenError, prepare
from demo.postgres import Server, throw_away
from demo.smoke import verify
from running_demo import ROOT, Demo, await_true

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


@pytest.fixture
def own_server() -> Iterator[Server]:
    with throw_away(POSTGRES_15 if POSTGRES_15.exists() else None) as server:
        yield server


def test_the_stream_lands_there_and_the_server_stays_up(
    tmp_path_factory: pytest.TempPathFactory, own_server: Server
) -> None:
    demo = Demo(tmp_path_factory.mktemp("own") / "state", own_server.url)
    try:
        demo.up()
        assert not (demo.settings.state / "postgres").exists()
        await_true(lambda: demo.position() > 0, 180)
        outcome = verify(demo.stack.databases, demo.settings.api_url)
        assert outcome.rows["raw_data.events_raw"] == outcome.events.total() > 0
        compared = [d for d in outcome.differences if d.table != "/events"]
        assert not compared, outcome.report()
        assert demo.down() == 0
        assert own_server.is_running()
    finally:
        demo.remove()


def test_what_others_made_there_is_left_alone(tmp_path: Path, own_server: Server) -> None:
    execute(
        own_server,
        "create role restaurant_user login password 'theirs'",
        "create database restaurant_analytics owner restaurant_user",
    )
    demo = Demo(tmp_path / "state", own_server.url)
    done = subprocess.run(
        [sys.executable, "-m", "demo", "up"],
        cwd=ROOT,
        env=demo.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "database restaurant_analytics, role restaurant_user\n" in done.stderr
    assert own_server.password not in done.stdout + done.stderr
    theirs = urlsplit(own_server.url)._replace(
        netloc=f"restaurant_user:theirs@127.0.0.1:{own_server.port}", path="/restaurant_analytics"
    )
    with closing(psycopg2.connect(theirs.geturl())) as connection:
        cursor = connection.cursor()
        cursor.execute("select count(*) from pg_roles where rolname = 'restaurant_owner'")
        assert cursor.fetchone() == (0,)


def test_what_a_state_folder_made_is_its_own(tmp_path: Path, own_server: Server) -> None:
    first, second = (Demo(tmp_path / name, own_server.url) for name in ("first", "second"))
    for _ in range(2):
        prepare(first.settings, first.stack.databases)
    with pytest.raises(ServerTakenError, match="role restaurant_owner"):
        prepare(second.settings, second.stack.databases)


def execute(server: Server, *statements: str) -> None:
    with closing(psycopg2.connect(server.url)) as connection:
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)
