"""Where the blocks of one page are run: a folder, a database, an environment, feeds."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
from demo import ports
from doc_blocks import Block, matches

ROOT = Path(__file__).resolve().parents[2]
RUN_DAGS = Path(__file__).with_name("run_dags.py")
SECONDS = 60

# What pages write and what does not stand for itself here: ports, a database, a role, and five
# minutes of reading.
FEEDS = (8000, 8001)
DATABASE = "postgresql://{}:secret@localhost:5432/shop"
OWNER, ENGINE = "shop", "shop_engine"
MINUTES = {"timeout_seconds=300": "timeout_seconds=3"}

# What a block exports, later ones see.
SHELL = """set -eu
if [ -f .environment ]; then . ./.environment; fi
{block}
{{ export -p >.environment; }} 2>/dev/null
"""


class World:
    """One page's surroundings; blocks are run in their order and see what earlier ones left."""

    def __init__(self, folder: Path, server: str) -> None:
        self.folder = folder
        self.ports = {feed: ports.free_port() for feed in FEEDS}
        # Files of DAGs that the page did not run itself yet.
        self.dags: list[str] = []
        self._server = server
        self._name = f"docs_{secrets.token_hex(4)}"
        self._groups: list[int] = []
        self._printed: str | None = None
        _execute(server, f"create database {self._name}")
        self.dsn = urlunsplit(urlsplit(server)._replace(path=f"/{self._name}"))
        self._stand_ins = self._make_stand_ins()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PG"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "PYTHONWARNINGS": "ignore",
        }

    def run(self, block: Block) -> None:
        """Do what the block is for; raises AssertionError if that does not come out."""
        if "not run" in block.markers:
            assert block.markers["not run"], f"{block}: say why it is not run"
        elif "output" in block.markers:
            assert self._printed is not None, f"{block}: nothing was run before this output"
            assert matches(block.text, self._printed), f"{block}: printed was:\n{self._printed}"
        elif block.title or "append" in block.markers:
            self._write(block)
        elif block.language == "sql":
            self._printed = self._as_written(_table(*_execute(self.dsn, self._here(block.text))))
        elif block.language in ("bash", "python"):
            self._printed = self._run_code(block)
        else:
            assert block.language == "text", (
                f"{block}: a block of {block.language!r} is not run; run are bash, python and sql, "
                "written are files with a title; see doc_blocks.py"
            )

    def run_bash(self, text: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run lines of bash; a feed that they start in the background is waited for."""
        self.dags = [dag for dag in self.dags if f"airflow dags test {Path(dag).stem}" not in text]
        done = self._call(["bash", "-c", SHELL.format(block=self._here(text))], stdin)
        if text.rstrip().endswith("&"):
            script = next(word for word in text.split() if word.endswith(".py"))
            listens = (self.folder / script).read_text()
            self._wait_for(next(port for port in self.ports.values() if str(port) in listens))
        return done

    def start(self, command: list[str], feed: int) -> None:
        """Start a feed of another kind in the place of the one that the page names."""
        log = (self.folder / "feed.log").open("w")
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._groups.append(process.pid)
        self._wait_for(self.ports[feed])

    def lend_airflow(self, database: Path) -> None:
        """Put an Airflow database, made before, where the page's Airflow looks for it."""
        home = self.folder / "airflow"
        home.mkdir()
        self.environment["AIRFLOW_HOME"] = str(home)
        shutil.copy(database, home / "airflow.db")

    def run_dags(self) -> None:
        """Run the DAGs that the page did not, in one process because Airflow is slow to start."""
        if self.dags:
            done = self._call_exported([sys.executable, str(RUN_DAGS), *self.dags])
            assert done.returncode == 0, f"{', '.join(self.dags)}:\n{done.stdout}"

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a statement."""
        return _execute(self.dsn, sql)[1]

    def close(self) -> None:
        """End what blocks left running and drop the database."""
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        _execute(self._server, f"drop database {self._name} with (force)")
        _execute(self._server, f"drop role if exists {self._stand_ins[ENGINE]}")

    def _make_stand_ins(self) -> dict[str, str]:
        role = f"{self._name}_engine"
        address = self.dsn.rpartition("@")[2]
        stand_ins = {
            DATABASE.format(OWNER): self.dsn,
            DATABASE.format(ENGINE): f"postgresql://{role}:secret@{address}",
            ENGINE: role,
            **MINUTES,
        }
        for shape in ("127.0.0.1:{}", '"127.0.0.1", {}'):
            stand_ins |= {shape.format(a): shape.format(b) for a, b in self.ports.items()}
        return stand_ins

    def _here(self, text: str) -> str:
        for theirs, ours in self._stand_ins.items():
            text = text.replace(theirs, ours)
        return text

    def _as_written(self, text: str) -> str:
        for theirs, ours in self._stand_ins.items():
            text = text.replace(ours, theirs)
        return text

    def _write(self, block: Block) -> None:
        path = self.folder / str(block.title or block.markers["append"])
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if "append" in block.markers else ""
        path.write_text(f"{before}{self._here(block.text)}\n")
        if path.parent.name == "dags":
            self.dags.append(str(block.title))

    def _run_code(self, block: Block) -> str:
        if block.language == "bash":
            done = self.run_bash(block.text, block.markers.get("stdin"))
        else:
            done = self._call_exported([sys.executable, "-c", self._here(block.text)])
        wanted = int(block.markers.get("exit", 0))
        assert done.returncode == wanted, f"{block} ended with {done.returncode}:\n{done.stdout}"
        return self._as_written(done.stdout)

    def _call_exported(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return self._call(["bash", "-c", SHELL.format(block='"$@"'), "bash", *command])

    def _call(
        self, command: list[str], stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        # Into a file: a pipe would stay open as long as what the block left running.
        with tempfile.TemporaryFile("w+", dir=self.folder) as printed:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            self._groups.append(process.pid)
            process.communicate(None if stdin is None else f"{stdin}\n", timeout=SECONDS)
            printed.seek(0)
            return subprocess.CompletedProcess(command, process.returncode, printed.read(), "")

    def _wait_for(self, port: int) -> None:
        deadline = time.monotonic() + SECONDS
        while ports.is_free(port):
            assert time.monotonic() < deadline, f"nobody answers at port {port}"
            time.sleep(0.05)


def _execute(dsn: str, sql: str) -> tuple[list[str], list[tuple[object, ...]]]:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            if cursor.description is None:
                return [], []
            return [column.name for column in cursor.description], cursor.fetchall()


def _table(names: list[str], rows: list[tuple[object, ...]]) -> str:
    cells = [names, *(["" if value is None else str(value) for value in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(names))]
    return "\n".join(
        " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
