"""Everything a run of chaos plays with: real server, source and tasks, and the proxies between."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil
import psycopg2
import psycopg2.extensions
from demo import database, ports
from demo.database import BUSINESS, Databases
from demo.http import get_json
from demo.postgres import PostgresError, Server
from demo.processes import ProcessError
from demo.settings import ROOT, SUPERUSER, Settings

from chaos.tasks import Supervisor
from chaos.web import WebProxy
from chaos.wire import WireProxy

STREAM = "restaurant"
# A table without any key: what lands in it twice stays there twice. It keeps a stream to one writer,
# so it is there only where no run may have more.
TALLY = "chaos.tally"
TALLY_TABLE = f"""
    create schema chaos authorization restaurant_owner;
    create table {TALLY} (epoch text, event_offset bigint, event_id uuid);
    grant usage on schema chaos to restaurant_user;
    grant select, insert on {TALLY} to restaurant_user"""
TALLY_ROUTE = f"""
[[route]]
event = "*"
table = "{TALLY}"
mode = "append"
[route.columns]
epoch = "$epoch"
event_offset = "$id"
event_id = "/event_id"
"""
# Room for what a batch stages and for an hour of the slowest table, and little more.
SMALL_DISK_BYTES = 128 << 20
SLOW_TABLE = "analytics.feedback"
RUN_SECONDS = 45
LEASE_SECONDS = 20
UP_SECONDS = 60


class Source:
    """The real generator on a log that survives its death."""

    def __init__(self, program: Path, settings: Settings, per_second: int, seed: int) -> None:
        self._program = program
        self._settings = settings
        self._per_second = str(per_second)
        self._seed = seed
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The generator's own address."""
        return self._settings.api_url

    def start(self, per_second: str | None = None) -> None:
        """Start it and wait until it answers."""
        with (self._settings.logs / "restaurant-api.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._program),
                    "serve",
                    f"--bind={ports.LOOPBACK}:{self._settings.api_port}",
                    f"--data-dir={self._settings.state / 'restaurant-api'}",
                    f"--seed={self._seed}",
                    f"--events-per-second={per_second or self._per_second}",
                    "--feedback-delay=100ms..2s",
                    "--retain-events=10000000",
                    f"--retain-bytes={8 << 30}",
                ],
                stdin=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        until(lambda: self.head() is not None, UP_SECONDS, "the source answers")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def quiet(self) -> None:
        """Have it serve what it has and produce nothing more."""
        self.kill()
        self.start(per_second="0.001")

    def head(self) -> int | None:
        """Return the last offset, None when there is no answer."""
        with suppress(OSError):
            return int(get_json(f"{self.url}/health")["last_offset"])
        return None


class World:
    """The stage. Everything on it is real but the proxies."""

    def __init__(self, folder: Path, *, per_second: int, seed: int, writers: list[int]) -> None:
        self.folder = folder
        self.writers = writers
        self._chance = random.Random(f"writers {seed}")
        self.settings = Settings.for_smoke(folder / "state")
        self.server = Server(
            folder / "postgres",
            self.settings.pg_port,
            self.settings.secrets[SUPERUSER],
            settings={"recovery_init_sync_method": "syncfs"},
        )
        self.databases = Databases(self.server.url, self.settings.secrets)
        self._program = folder / "restaurant-api"
        self.source = Source(self._program, self.settings, per_second, seed)
        self.wire = WireProxy(self.settings.pg_port)
        self.web = WebProxy(self.settings.api_port)
        self.tasks: Supervisor
        # Where tasks under Airflow write, once there are any.
        self.airflow_logs: Path | None = None
        self.has_small_disk = False
        self._disk = folder / "small-disk"

    def up(self) -> None:
        """Start everything but the tasks."""
        self._keep_programs()
        self.server.start()
        database.prepare(self.settings, self.databases)
        self.run_sql(TALLY_TABLE)
        self._mount_small_disk()
        self.source.start()

    def _keep_programs(self) -> None:
        """Copy generator and engine: a build in the meantime must not change what is tested."""
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        program = target / "release" / "restaurant-api"
        package = importlib.util.find_spec("sse_stream")
        if not program.exists() or package is None or package.origin is None:
            raise ProcessError("generator or wheel is not built yet: run make build")
        shutil.copy(program, self._program)
        self.engine = self.folder / "engine"
        shutil.copytree(Path(package.origin).parent, self.engine / "sse_stream")
        os.environ["PYTHONPATH"] = str(self.engine)

    def start_tasks(self) -> None:
        """Start the nursery; no run yet."""
        preset = self.folder / "preset"
        preset.mkdir()
        original = self.engine / "sse_stream" / "presets" / "restaurant" / "preset.toml"
        (preset / "preset.toml").write_text(original.read_text() + TALLY_ROUTE * self.has_tally)
        home = self.folder / "task-home"
        home.mkdir()
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_POSTGRES_RESTAURANT": self.connection(),
        }
        operator = {
            "sse_url": f"{self.web.url}/stream",
            "preset": str(preset),
            "max_events_per_run": None,
            "timeout_seconds": RUN_SECONDS,
            "lease_timeout_seconds": LEASE_SECONDS,
            "offset_variable": None,
        }
        draw = lambda: self._chance.choice(self.writers)  # noqa: E731
        self.tasks = Supervisor(self.folder, environment, operator, draw)

    @property
    def has_tally(self) -> bool:
        """Whether runs without the scheduler fill the table without a key."""
        return self.writers == [1]

    def logs(self) -> list[Path]:
        """Return the files that tell what tasks did."""
        found = [self.tasks.log] if self.tasks.log.exists() else []
        if self.airflow_logs is not None:
            found += self.airflow_logs.glob("dag_id=*/run_id=*/task_id=*/attempt=*.log")
        return found

    def secrets_told(self) -> list[str]:
        """Return one line for each log of any program that shows a password or an event."""
        words = [*self.settings.secrets.values(), '"auth_code":']
        found = []
        logs = [*self.folder.glob("*.log"), self.server.log, *self.settings.logs.iterdir()]
        for path in [*logs, *self.settings.state.glob("airflow/logs/**/*.log")]:
            text = path.read_text(errors="replace")
            found += [f"{path} tells a secret" for word in words if word in text]
        return found

    def connection(self) -> str:
        """Return Airflow's connection to the database, by way of the proxy."""
        parts = urlsplit(self.databases.url("restaurant_user"))
        return json.dumps(
            {
                "conn_type": "postgres",
                "host": ports.LOOPBACK,
                "port": self.wire.port,
                "login": unquote(parts.username or ""),
                "password": unquote(parts.password or ""),
                "schema": BUSINESS,
                "extra": {"sslmode": "disable"},
            }
        )

    def down(self) -> None:
        """Stop everything; what is in the way of that is killed."""
        if hasattr(self, "tasks"):
            self.tasks.stop(seconds=5)
        self.source.kill()
        for process in self.server_processes():
            with suppress(psutil.Error):
                process.resume()
        with suppress(PostgresError):
            self.server.stop()
        if self._disk.is_mount():
            subprocess.run(["umount", self._disk], check=True)

    @contextmanager
    def admin(self) -> Iterator[psycopg2.extensions.connection]:
        """Give a superuser's connection, past the proxy."""
        url = self.databases.admin(BUSINESS)
        with closing(psycopg2.connect(url, connect_timeout=5)) as connection:
            connection.autocommit = True
            yield connection

    @contextmanager
    def full_disk(self) -> Iterator[Callable[[], None]]:
        """Leave no room for what the engine's sessions stage, and none for the slowest table.

        The function that it gives takes what has become free again since.
        """
        ballast = self._disk / "ballast"

        def fill() -> None:
            with ballast.open("ab", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(1 << 14))

        try:
            fill()
            yield fill
        finally:
            ballast.unlink()

    def _mount_small_disk(self) -> None:
        """Give temporary tables and one that is kept a file system that can really be full."""
        self._disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(self._disk)]
        # Only root may, and root of a container may not.
        self.has_small_disk = (
            subprocess.run(mount, capture_output=True, check=False).returncode == 0
        )
        if not self.has_small_disk:
            return
        tablespace = self._disk / "tablespace"
        tablespace.mkdir()
        shutil.chown(tablespace, self.server.data.owner(), self.server.data.group())
        self.run_sql(
            f"create tablespace small location '{tablespace}'",
            "grant create on tablespace small to restaurant_user",
            "alter role restaurant_user set temp_tablespaces = small",
            # What is new goes straight into its table and is never staged.
            f"alter table {SLOW_TABLE} set tablespace small",
        )

    def run_sql(self, *statements: str) -> None:
        """Execute statements as superuser, each in a transaction of its own, in one session."""
        with self.admin() as connection:
            for statement in statements:
                connection.cursor().execute(statement)

    def postmaster(self) -> psutil.Process:
        """Return the server's first process."""
        return psutil.Process(int((self.server.data / "postmaster.pid").read_text().split()[0]))

    def server_processes(self) -> list[psutil.Process]:
        """Return all processes of the server, none when it is down."""
        with suppress(OSError, psutil.Error, IndexError, ValueError):
            first = self.postmaster()
            return [first, *first.children(recursive=True)]
        return []

    def end_server(self, number: int) -> list[psutil.Process]:
        """Send a signal to the server's first process; return all that must end of it."""
        processes = self.server_processes()
        processes[0].send_signal(number)
        return processes

    def start_server(self, ending: list[psutil.Process]) -> None:
        """Start the server once the old one is gone to its last process, as an admin must."""
        _, alive = psutil.wait_procs(ending, timeout=20)
        for process in alive:
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    process.send_signal(signal.SIGKILL)
        psutil.wait_procs(alive, timeout=5)
        self.server.start()
        until(self._answers, UP_SECONDS, "the server answers")

    def _answers(self) -> bool:
        with suppress(psycopg2.Error), self.admin():
            return True
        return False


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Poll until the condition holds; raise TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(0.05)


def say(text: str) -> None:
    """Print a line at once."""
    print(text, file=sys.stdout, flush=True)
