"""The stream under load and under trouble: a stopped database, a killed generator, many readers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import psycopg2
import pytest
from demo import database, ports
from demo.database import BUSINESS, Databases
from demo.http import get_json
from demo.postgres import Server
from demo.settings import SUPERUSER, Settings
from demo.smoke import verify
from running_demo import ROOT, await_true

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

MIB = 1 << 20
PER_SECOND = 5000
LOAD_SECONDS = 60
STOPPED_SECONDS = 20
# At its end the run may be behind by what arrives while one batch is on its way.
BEHIND_EVENTS = PER_SECOND * 2


class Feed:
    """The real generator with its options, killed and started again at will."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = ports.free_port()
        self.url = f"http://{ports.LOOPBACK}:{self.port}"
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        with (self.folder / "feed.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(target / "release" / "restaurant-api"),
                    "serve",
                    f"--bind={ports.LOOPBACK}:{self.port}",
                    "--feedback-delay=100ms..2s",
                    *self.options,
                ],
                stderr=log,
            )
        await_true(self._answers, 20)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def head(self) -> int:
        return int(get_json(f"{self.url}/health")["last_offset"])

    def _answers(self) -> bool:
        with suppress(OSError):
            return self.head() >= 0
        return False


class Client(threading.Thread):
    """One more reader of the stream, in plain Python: reconnects with its last id."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(daemon=True)
        self.url = f"{feed.url}/stream?since=0"
        self.offsets: list[int] = []
        self.connections = 0
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.is_set():
            with suppress(OSError, ValueError):
                self._read()
            time.sleep(0.1)

    def _read(self) -> None:
        request = urllib.request.Request(self.url)
        if self.offsets:
            request.add_header("Last-Event-ID", str(self.offsets[-1]))
        with urllib.request.urlopen(request, timeout=5) as response:
            self.connections += 1
            ident = None
            for line in response:
                if line.startswith(b"id:"):
                    ident = int(line[3:])
                elif not line.strip() and ident is not None:
                    # Only a whole block counts: a torn one comes again.
                    self.offsets.append(ident)
                    ident = None
                if self.enough.is_set():
                    return


class Run:
    """The operator in a process of its own, as a task runner would have it."""

    def __init__(self, feed: Feed, databases: Databases, seconds: int, home: Path) -> None:
        script = (
            "import json, logging, sys; logging.basicConfig(level=logging.INFO)\n"
            "from sse_stream import SSEStreamOperator\n"
            f"operator = SSEStreamOperator(task_id='load', sse_url={feed.url + '/stream'!r},"
            f" max_events_per_run=None, timeout_seconds={seconds}, offset_variable=None)\n"
            "print(json.dumps(operator.execute({}), default=str))\n"
        )
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW_CONN_POSTGRES_RESTAURANT": databases.url("restaurant_user"),
        }
        self.log = home / "run.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=home,
            )
        self.rss: list[tuple[float, int]] = []

    def watch(self, seconds: float) -> None:
        """Note the memory of the process until it ends or `seconds` are over."""
        began = time.monotonic()
        process = psutil.Process(self.process.pid)
        while time.monotonic() - began < seconds and self.process.poll() is None:
            with suppress(psutil.Error):
                self.rss.append((time.monotonic(), process.memory_info().rss))
            time.sleep(0.25)

    def result(self) -> dict[str, object]:
        output, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, self.log.read_text()[-4000:]
        result: dict[str, object] = json.loads(output.decode().splitlines()[-1])
        return result


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[tuple[Server, Databases]]:
    """A server that keeps what it committed (fsync on), with roles and tables."""
    settings = Settings.for_smoke(tmp_path / "state")
    server = Server(tmp_path / "postgres", settings.pg_port, settings.secrets[SUPERUSER])
    try:
        server.start()
        databases = Databases(server.url, settings.secrets)
        database.prepare(settings, databases)
        yield server, databases
    finally:
        server.remove()


def test_5000_per_second_for_a_minute_with_the_database_stopped_in_between(
    durable: tuple[Server, Databases], tmp_path: Path
) -> None:
    server, databases = durable
    feed = Feed(tmp_path, f"--events-per-second={PER_SECOND}", "--retain-events=1000000")
    feed.start()
    try:
        run = Run(feed, databases, LOAD_SECONDS, tmp_path)
        try:
            await_true(lambda: position(databases) > 0, 30)
            began = time.monotonic()
            run.watch(LOAD_SECONDS / 4)
            stopped = stop_still(server)
            try:
                run.watch(STOPPED_SECONDS)
            finally:
                for process in stopped:
                    process.resume()
            run.watch(LOAD_SECONDS * 2)
            head = feed.head()
            result = run.result()
        finally:
            run.process.kill()
    finally:
        feed.kill()
    landed = position(databases)
    rows = counts(databases)
    assert rows["events_raw"] == landed == result["events_processed"]
    assert rows["dead_letters"] == 0
    assert rows["by_type"] == rows["events_raw"], "every event has its row in a fact table"
    # A busy machine slows the generator too; how far the run is behind it is the question.
    assert landed >= PER_SECOND * LOAD_SECONDS * 0.6
    assert head - landed < BEHIND_EVENTS, f"{head - landed} events behind at the end"
    first_tenth = [rss for at, rss in run.rss if at - began <= LOAD_SECONDS / 10][-1]
    growth = run.rss[-1][1] - first_tenth
    assert growth <= 16 * MIB, f"memory grew by {growth / MIB:.1f} MiB"


@pytest.mark.parametrize("keeps", [True, False], ids=["data-dir", "memory"])
def test_a_killed_generator_doubles_and_loses_nothing_for_any_reader(
    keeps: bool, durable: tuple[Server, Databases], tmp_path: Path
) -> None:
    _, databases = durable
    kept = [f"--data-dir={tmp_path / 'feed'}"] if keeps else []
    feed = Feed(tmp_path, "--events-per-second=1000", *kept)
    feed.start()
    clients = [Client(feed), Client(feed)]
    run = Run(feed, databases, 15, tmp_path)
    try:
        if keeps:
            for client in clients:
                client.start()
        await_true(lambda: position(databases) > 3000, 30)
        feed.kill()
        before = counts(databases)["events_raw"]
        time.sleep(1)
        feed.start()
        result = run.result()
        landed = position(databases)
        rows = counts(databases)
        assert rows["dead_letters"] == 0
        assert rows["by_type"] == rows["events_raw"]
        if keeps:
            assert rows["events_raw"] == landed == result["events_processed"]
            outcome = verify(databases, feed.url)
            assert not outcome.differences, outcome.report()
            for client in clients:
                await_true(lambda each=client: each.offsets[-1] >= landed, 20)
                assert client.connections >= 2
                assert client.offsets == list(range(1, client.offsets[-1] + 1))
        else:
            # History is lost with the process: a new epoch begins at 1, the old rows stay.
            assert rows["epochs"] == 2
            assert rows["events_raw"] >= before + landed
            assert landed > 1000
    finally:
        for client in clients:
            client.enough.set()
        run.process.kill()
        run.process.wait()
        feed.kill()


def stop_still(server: Server) -> list[psutil.Process]:
    """Halt every process of the server, as a machine that hangs would."""
    postmaster = psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    return processes


def position(databases: Databases) -> int:
    return query(databases, "select coalesce(max(position), 0) from sse_stream.streams")[0]


def counts(databases: Databases) -> dict[str, int]:
    names = ("events_raw", "epochs", "dead_letters", "by_type")
    row = query(
        databases,
        "select (select count(*) from raw_data.events_raw),"
        " (select count(distinct epoch) from raw_data.events_raw),"
        " (select count(*) from sse_stream.dead_letters),"
        " (select count(*) from analytics.orders) + (select count(*) from analytics.order_items)"
        " + (select count(*) from analytics.payments) + (select count(*) from analytics.feedback)",
    )
    return dict(zip(names, row, strict=True))


def query(databases: Databases, statement: str) -> tuple[int, ...]:
    with closing(psycopg2.connect(databases.admin(BUSINESS))) as connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        row = cursor.fetchone()
        assert row is not None
        return tuple(int(value) for value in row)
