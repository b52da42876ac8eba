"""PostgreSQL as all contestants meet it, and what it spends."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from demo import ports
from demo.database import SCRIPTS
from demo.postgres import Server
from demo.settings import ROLES

from bench.plan import WORK, BenchError

# Beside these the defaults hold: fsync, synchronous_commit, full_page_writes and autovacuum are on.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
STATED = (
    "server_version",
    *SETTINGS,
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "autovacuum",
    "wal_compression",
)
DEBIAN = Path("/usr/lib/postgresql/15/bin")
USER = "restaurant_user"
OWNER = "restaurant_owner"
# What the corpus needs beside today's days.
CORPUS_DAYS = ("2026-01-15", "2026-01-16")
HERE = Path(__file__).parent
# Processes of the server that do no contestant's work.
HOUSEKEEPING = ("checkpointer", "background writer", "walwriter", "launcher", "logger", "archiver")


class Cluster:
    """A server of its own, fresh at every start, with one template database per schema.

    Databases are copied from the templates `ours`, `a2`, `raw_only` and `dlt`.
    """

    def __init__(self, home: Path = WORK / "postgres") -> None:
        shutil.rmtree(home, ignore_errors=True)
        self._home = home
        self._password = secrets.token_hex(12)
        bin_dir = DEBIAN if (DEBIAN / "initdb").exists() else None
        self.server = Server(home, ports.free_port(), self._password, bin_dir, dict(SETTINGS))

    def __enter__(self) -> Cluster:
        shutil.rmtree(self.server.home, ignore_errors=True)
        self.server.start()
        with closing(self.connect("postgres")) as connection:
            cursor = connection.cursor()
            for role in ROLES:
                setting = f"bootstrap.{role}_password"
                cursor.execute("select set_config(%s, %s, false)", [setting, self._password])
            cursor.execute((SCRIPTS / "bootstrap.sql").read_text())
        self._make_template("ours", "restaurant")
        self._make_template("raw_only", str(HERE / "presets" / "raw_only"))
        self._create("dlt", None)
        self._create("a2", None)
        self._script("a2", HERE / "schema_a2.sql")
        return self

    def __exit__(self, *_: object) -> None:
        self.server.remove()

    def url(self, database: str, user: str = USER) -> str:
        """Return the URL with which `user` reaches a database."""
        return (
            f"postgresql://{user}:{self._password}@{ports.LOOPBACK}:{self.server.port}/{database}"
        )

    def connect(self, database: str, user: str = "postgres") -> Any:
        """Return a connection that commits each statement by itself."""
        connection = psycopg2.connect(self.url(database, user))
        connection.autocommit = True
        return connection

    def query(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as superuser and return its rows."""
        with closing(self.connect(database)) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    @contextmanager
    def database(self, template: str) -> Iterator[str]:
        """Give the name of a fresh copy of a template, and drop it afterwards.

        Dropping ends with a checkpoint, so that nobody pays for what came before.
        """
        name = f"{template}_{secrets.token_hex(4)}"
        self._create(name, template)
        try:
            yield name
        finally:
            self.query("postgres", f"drop database {name} with (force)")

    def settle(self) -> None:
        """Write out what is dirty."""
        self.query("postgres", "checkpoint")

    def cpu_seconds(self) -> float:
        """Return what all sessions have used so far, ended ones and autovacuum's included."""
        postmaster = psutil.Process(
            int((self.server.data / "postmaster.pid").read_text().split()[0])
        )
        times = postmaster.cpu_times()
        total = times.children_user + times.children_system
        for child in postmaster.children():
            try:
                if not any(name in " ".join(child.cmdline()) for name in HOUSEKEEPING):
                    spent = child.cpu_times()
                    total += spent.user + spent.system
            except psutil.NoSuchProcess:
                # Reaped meanwhile: the next look finds it in the postmaster's sum.
                continue
        return total

    def stated(self) -> dict[str, str]:
        """Return the settings that every figure is to be read with."""
        return {name: self.query("postgres", f"show {name}")[0][0] for name in STATED}

    def _create(self, name: str, template: str | None) -> None:
        source = template or "template0"
        # dlt makes its own tables.
        owner = USER if source == "dlt" else OWNER
        # As databases.sql makes them: sorted byte by byte.
        self.query(
            "postgres",
            f"create database {name} owner {owner} template {source} encoding 'UTF8'"
            " lc_collate 'C' lc_ctype 'C'",
        )
        self.query("postgres", f"alter database {name} set timezone to 'UTC'")

    def _make_template(self, name: str, preset: str) -> None:
        self._create(name, None)
        self._script(name, SCRIPTS / "extensions.sql")
        done = subprocess.run(
            [sys.executable, "-m", "sse_stream", "migrate", "--preset", preset],
            # From another folder: the package must come from the installed wheel.
            cwd=self._home.parent,
            env={**os.environ, "DATABASE_URL": self.url(name, OWNER)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BenchError(f"the migrations of {preset} failed: {done.stderr.strip()}")
        if name == "ours":
            for day in CORPUS_DAYS:
                self.query(
                    name, f"select raw_data.add_day_partition('raw_data.events_raw', '{day}')"
                )
                self.query(
                    name, f"alter table raw_data.events_raw_{day.replace('-', '')} owner to {OWNER}"
                )

    def _script(self, database: str, path: Path) -> None:
        self.query(database, path.read_text())
