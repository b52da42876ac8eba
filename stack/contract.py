"""What a stack can be asked, whichever kind it is; the verbs are written against this."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
SQL = ROOT / "docker" / "postgres"
BUSINESS = "restaurant_analytics"
METADATA = "airflow_db"
STREAM = "restaurant"
VARIABLE = "restaurant_stream_offset"
DAG = "restaurant_realtime_stream"
CONNECTIONS = ("postgres_restaurant", "restaurant_api")

# Never through a proxy of the user's environment: all addresses are on this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StackError(Exception):
    """Something is not as it must be; the message names it and says what to do."""


@dataclass(frozen=True)
class Service:
    """One part of the stack: its name, whether it does its work, and how it is in words."""

    name: str
    is_well: bool
    state: str


class Stack(ABC):
    """One stack, of one kind."""

    kind: str
    title: str

    @abstractmethod
    def is_running(self) -> bool:
        """Say whether any part of it runs."""

    @abstractmethod
    def up(self) -> None:
        """Start everything, wait until it is well, say where it is; raise StackError."""

    @abstractmethod
    def down(self) -> None:
        """Stop everything; nothing that was stored is lost."""

    @abstractmethod
    def destroy(self) -> None:
        """Stop everything and delete all that it stored."""

    @abstractmethod
    def services(self) -> list[Service]:
        """Return every part that ought to run, running or not."""

    @abstractmethod
    def show(self) -> None:
        """Print what runs, with addresses."""

    @abstractmethod
    def follow_logs(self) -> int:
        """Print the last lines of all logs and go on until interrupted; return the exit code."""

    @abstractmethod
    def log_texts(self, lines: int) -> Iterator[tuple[str, str]]:
        """Yield the name of each log and its last lines."""

    @abstractmethod
    def description(self) -> str:
        """Return the configuration that the stack runs with, secrets included."""

    @abstractmethod
    def secrets(self) -> Sequence[str]:
        """Return every text that nobody else may read."""

    @abstractmethod
    def ports(self) -> Mapping[str, tuple[str, int, bool]]:
        """Return variable -> (service, port on this machine, whether our service listens there)."""

    @abstractmethod
    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments where Airflow and the wheel are, with their settings."""

    @abstractmethod
    def database_tool(
        self, *command: str, source: IO[bytes] | None = None, target: IO[bytes] | None = None
    ) -> str:
        """Run a program of PostgreSQL as its superuser; return its output, or write it to `target`.

        Raise StackError with its words when it fails. Paths in `command` that begin with
        docker/postgres are found where the program runs.
        """

    @abstractmethod
    def quiet(self) -> AbstractContextManager[None]:
        """Let only the databases run, prepared, while this lasts; then start everything again."""

    @abstractmethod
    def engine_problems(self) -> list[str]:
        """Return what is missing of the programs that the stack is made of."""

    @abstractmethod
    def setting_problems(self) -> list[str]:
        """Return what is wrong in the settings."""

    @abstractmethod
    def free_bytes(self) -> Mapping[str, int]:
        """Return place -> free bytes, for every place that the stack fills."""

    @property
    @abstractmethod
    def api_url(self) -> str:
        """The generator's address on this machine."""

    @property
    @abstractmethod
    def web_url(self) -> str:
        """Airflow's address on this machine."""

    def sql(self, file: str, database: str = BUSINESS, **values: str) -> dict[str, str]:
        """Run a file of docker/postgres that returns names and values; raise StackError."""
        found = {}
        for line in self.lines(file, database, **values):
            name, _, value = line.partition("|")
            found[name] = value
        return found

    def lines(self, file: str, database: str = BUSINESS, **values: str) -> list[str]:
        """Run a file of docker/postgres and return its rows; raise StackError."""
        options = [f"--set={name}={value}" for name, value in values.items()]
        return self.database_tool(
            *("psql", "--no-psqlrc", "--no-align", "--tuples-only", "--quiet"),
            *("--set=ON_ERROR_STOP=1", *options, f"--dbname={database}"),
            f"--file=docker/postgres/{file}",
        ).splitlines()


def finish(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    source: IO[bytes] | None = None,
    target: IO[bytes] | None = None,
    seconds: float = 600,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it said; raise StackError if there is none."""
    try:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=None if environment is None else dict(environment),
            stdin=source if source is not None else subprocess.DEVNULL,
            stdout=target if target is not None else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise StackError(f"{command[0]} is not installed, or not on PATH") from None
    except subprocess.TimeoutExpired:
        raise StackError(f"{Path(command[0]).name} gave no answer within {seconds:.0f} s") from None


def require(done: subprocess.CompletedProcess[str], what: str) -> str:
    """Return the output of a program that ended well; raise StackError with its last words."""
    if done.returncode != 0:
        words = (done.stderr or done.stdout or "").strip().splitlines()[-15:]
        raise StackError("\n".join([f"{what} ended with code {done.returncode}", *words]))
    return done.stdout or ""


def get_json(url: str, seconds: float = 10) -> Any:
    """Return the JSON at `url`; raise OSError or ValueError."""
    with _opener.open(url, timeout=seconds) as response:
        return json.loads(response.read())


def is_confirmed(what: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Ask a person on the terminal; YES=1 answers for them, no terminal means no."""
    if environment.get("YES") == "1":
        return True
    try:
        return input(f"{what}\ntype yes to go on: ").strip().lower() == "yes"
    except EOFError:
        return False
