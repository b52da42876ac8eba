"""`DATABASE_URL`: the demo on a PostgreSQL of the user's own, here Debian's 15 where it is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo.postgres import throw_away
from demo.smoke import verify
from running_demo import Demo, await_true

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def test_the_stream_lands_there_and_the_server_stays_up(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with throw_away(POSTGRES_15 if POSTGRES_15.exists() else None) as server:
        demo = Demo(tmp_path_factory.mktemp("own") / "state", server.url)
        try:
            demo.up()
            assert not (demo.settings.state / "postgres").exists()
            await_true(lambda: demo.position() > 0, 180)
            outcome = verify(demo.stack.databases, demo.settings.api_url)
            assert outcome.rows["raw_data.events_raw"] == outcome.position > 0
            compared = [d for d in outcome.differences if d.table != "/events"]
            assert not compared, outcome.report()
            assert demo.down() == 0
            assert server.is_running()
        finally:
            demo.remove()
