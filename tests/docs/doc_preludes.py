"""What pages begin with, by the name that their `world` marker gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from doc_blocks import read_page
from doc_world import FEEDS, ROOT, World

sys.path.insert(0, str(ROOT / "tests" / "integration"))

TUTORIAL, PRESET = "tutorial.md", "how-to/preset.md"


def prepare(world: World, name: str) -> None:
    """Make the world of that name; raises KeyError if there is none."""
    _WORLDS[name](world)


def _empty(world: World) -> None:
    """Nothing but an empty database."""


def _feed(world: World, *pages: str) -> None:
    """The tutorial's feed as a file."""
    for page in (TUTORIAL, *pages):
        for block in read_page(ROOT / "docs" / page).blocks:
            if block.title and not block.title.startswith("dags/"):
                world.run(block)


def _shop(world: World) -> None:
    """Where the tutorial ends, without its events: preset and tables, and the feed runs."""
    _feed(world, PRESET)
    world.environment["DATABASE_URL"] = world.environment["AIRFLOW_CONN_SHOP"] = world.dsn
    _do(world, "python shop_feed.py &", "python -m sse_stream migrate --preset feeds/shop")


def _shop_landed(world: World) -> None:
    """The same with events in it, none of them bad."""
    _shop(world)
    url = f"http://127.0.0.1:{FEEDS[0]}/stream"
    _do(world, f"sse-stream run {url} --preset feeds/shop --events 90")


def _restaurant(world: World) -> None:
    """The demo's: roles, schema, and the generator in the feed's place."""
    from operator_stage import connection, program
    from schema_database import BOOTSTRAP, Database, bootstrap_roles

    database = Database(world.dsn)
    bootstrap_roles(database)
    (name,) = database.run("select current_database()")[0]
    database.run(f"alter database {name} owner to restaurant_owner")
    database.run((BOOTSTRAP / "extensions.sql").read_text())
    database.close()
    world.environment["DATABASE_URL"] = f"{world.dsn}?options=-c%20role%3Drestaurant_owner"
    world.environment["AIRFLOW_CONN_POSTGRES_RESTAURANT"] = connection(world.dsn)
    _do(world, "python -m sse_stream migrate --preset restaurant")
    world.start([str(program()), "serve", f"--bind=127.0.0.1:{world.ports[FEEDS[0]]}"], FEEDS[0])


def _do(world: World, *commands: str) -> None:
    for command in commands:
        done = world.run_bash(command)
        assert done.returncode == 0, done.stdout


_WORLDS = {
    "empty": _empty,
    "feed": _feed,
    "shop": _shop,
    "shop, landed": _shop_landed,
    "restaurant": _restaurant,
}


def airflow_database(home: Path) -> Path:
    """Make an Airflow database as `airflow db migrate` does; worlds get copies of it."""
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        # Settings of other tests in this process would lead to their database.
        env={
            **{name: value for name, value in os.environ.items() if "AIRFLOW" not in name},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        },
        capture_output=True,
        check=True,
    )
    return home / "airflow.db"
