"""The embedded stack of `make demo`, kept running in the background. Needs the checkout's .venv."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from stack.contract import ROOT, Service, Stack, StackError, finish, get_json, require

if TYPE_CHECKING:
    from demo.stack import Stack as Demo

PYTHON = ROOT / ".venv" / "bin" / "python"
READY_SECONDS = 300
STOP_SECONDS = 90


def state_folder() -> Path:
    """Return where the demo keeps its state, as demo.settings does."""
    return Path(os.environ.get("DEMO_STATE") or ROOT / ".demo").resolve()


def owner() -> int | None:
    """Return the process that holds the state folder, None if nobody does."""
    if os.name != "posix":
        return None
    import fcntl

    try:
        with (state_folder() / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(lock.read().strip() or 0) or None
    except FileNotFoundError:
        pass
    return None


def expected_errors() -> tuple[type[Exception], ...]:
    """Return what is raised where something is not as it must be, by the demo too if it was asked."""
    if "demo.stack" not in sys.modules:
        return (StackError,)
    import psycopg2
    from demo.database import ServerTakenError
    from demo.postgres import PostgresError
    from demo.processes import ProcessError
    from demo.settings import SettingsError
    from demo.stack import StageError

    return (
        *(StackError, StageError, ProcessError, PostgresError, SettingsError, ServerTakenError),
        psycopg2.Error,
    )


class Embedded(Stack):
    """The stack that `python -m demo up` runs; DEMO_STATE and DEMO_*_PORT make a second one."""

    kind = "demo"

    def __init__(self) -> None:
        self.title = f"demo (embedded, state {state_folder()})"

    def is_running(self) -> bool:
        """Say whether somebody holds the state folder."""
        return owner() is not None

    def up(self) -> None:
        """Build what changed, start in the background, wait for the first live line."""
        if self.is_running():
            print("it runs already")
        else:
            self._build()
            self._start()
        self.show()

    def down(self) -> None:
        """Tell the process in the background to stop, and wait for it."""
        pid = owner()
        if pid is None:
            print("nothing runs")
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while owner() is not None:
            if time.monotonic() > deadline:
                raise StackError(f"process {pid} has not stopped within {STOP_SECONDS} s")
            time.sleep(0.2)

    def destroy(self) -> None:
        """Stop, then delete the state folder; a server of the user's own stays as it is."""
        self.down()
        demo = self._demo()
        demo.remove()

    def services(self) -> list[Service]:
        """Ask each program itself."""
        demo = self._demo()
        return [
            self._postgres(),
            _answers("restaurant-api", f"{demo.settings.api_url}/health"),
            _answers("metrics-api", f"{demo.settings.metrics_url}/kpis"),
            *self._airflow(),
        ]

    def show(self) -> None:
        """Print each program, and where a person finds it."""
        for service in self.services():
            print(f"  {service.name:<16}{service.state}")
        settings = self._demo().settings
        print(
            f"\n  live page    {settings.metrics_url}\n"
            f"  Airflow      {settings.web_url}   login admin, password in secrets.json\n"
            f"  generator    {settings.api_url}/docs\n"
            f"  state        {settings.state}"
        )

    def follow_logs(self) -> int:
        """Hand over to tail."""
        logs = sorted(str(path) for path in self._demo().settings.logs.glob("*.log"))
        if not logs:
            raise StackError("there are no logs: nothing was started yet")
        with suppress(KeyboardInterrupt):
            return subprocess.call(["tail", "--lines=200", "--follow", *logs])
        return 0

    def log_texts(self, lines: int) -> Iterator[tuple[str, str]]:
        """Yield each program's log."""
        for path in sorted(self._demo().settings.logs.glob("*.log")):
            text = path.read_text(errors="replace").splitlines()[-lines:]
            yield path.stem, "\n".join(text)

    def description(self) -> str:
        """Return the settings and the versions."""
        settings = self._demo().settings
        said = [f"{name}={value}" for name, value in vars(settings).items() if name != "secrets"]
        done = self.python("-m", "pip", "list", "--format=freeze")
        return "\n".join([*said, done.stdout])

    def secrets(self) -> Sequence[str]:
        """Return what stands in secrets.json."""
        return list(self._demo().settings.secrets.values())

    def ports(self) -> Mapping[str, tuple[str, int, bool]]:
        """Return the demo's ports; all are ours while it runs."""
        settings = self._demo().settings
        is_ours = self.is_running()
        found = {
            "DEMO_API_PORT": ("restaurant-api", settings.api_port, is_ours),
            "DEMO_WEB_PORT": ("webserver", settings.web_port, is_ours),
            "DEMO_METRICS_PORT": ("metrics-api", settings.metrics_port, is_ours),
        }
        if settings.database_url is None:
            found["DEMO_PG_PORT"] = ("postgres", settings.pg_port, is_ours)
        return found

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run this interpreter with Airflow's environment, outside the checkout's packages."""
        from demo import airflow

        demo = self._demo()
        variables = {
            **airflow.environment(demo.settings, demo.databases),
            "DATABASE_URL": demo.databases.url("restaurant_user"),
            # Not the checkout's python/sse_stream: it holds no engine.
            "PYTHONPATH": str(ROOT),
        }
        return finish([sys.executable, *arguments], environment=variables)

    def database_tool(
        self, *command: str, source: IO[bytes] | None = None, target: IO[bytes] | None = None
    ) -> str:
        """Run the program that came with the embedded server."""
        from demo.postgres import wheel_programs

        demo = self._demo()
        url = demo.databases.admin("postgres")
        found = wheel_programs()
        variables = {
            **os.environ,
            **_libpq(url),
            "PATH": f"{found}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        done = finish(
            list(command), environment=variables, source=source, target=target, seconds=3600
        )
        return require(done, command[0])

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Stop all, start the server alone, and start everything at the end."""
        from demo import airflow, database
        from demo.stack import exclusive

        self._build()
        ran = self.is_running()
        self.down()
        demo = self._demo()
        try:
            with exclusive(demo.settings):
                demo.start_database()
                try:
                    database.prepare(demo.settings, demo.databases)
                    airflow.prepare(demo.settings, demo.databases)
                    yield
                finally:
                    demo.down()
        except BaseException:
            # What did not run before shall not begin to write after a failure.
            if ran:
                self._start()
            raise
        self._start()

    def engine_problems(self) -> list[str]:
        """Look for the wheel's engine and the generator."""
        found = []
        check = finish([sys.executable, "-c", "import sse_stream._native"])
        if check.returncode != 0:
            found.append("the engine cannot be imported into .venv: run make build")
        for name in ("restaurant-api", "metrics-api"):
            if not (_target() / "release" / name).exists():
                found.append(f"the program {name} is not built: run make build")
        return found

    def setting_problems(self) -> list[str]:
        """Look at who may read the secrets."""
        file = state_folder() / "secrets.json"
        if file.exists() and file.stat().st_mode & 0o077:
            return [f"{file} can be read by other users: chmod 600 {file}"]
        return []

    def free_bytes(self) -> Mapping[str, int]:
        """Ask the file systems of the state and of the server's data."""
        demo = self._demo()
        places = {demo.settings.state, demo.server_home or demo.settings.state}
        return {str(place): shutil.disk_usage(place).free for place in places if place.exists()}

    @property
    def api_url(self) -> str:
        """The generator's address."""
        return self._demo().settings.api_url

    @property
    def web_url(self) -> str:
        """Airflow's address."""
        return self._demo().settings.web_url

    def _demo(self) -> Demo:
        # Only in .venv: it needs psycopg2 and psutil.
        from demo.settings import Settings
        from demo.stack import Stack as Demo

        return Demo(Settings.for_demo())

    def _build(self) -> None:
        sys.stdout.flush()
        if subprocess.call(["make", "--no-print-directory", "build"], cwd=ROOT) != 0:
            raise StackError("make build failed")

    def _start(self) -> None:
        log = state_folder() / "logs" / "demo.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "demo", "up"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while "  landed " not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(log.read_text(errors="replace").strip())
            time.sleep(0.3)

    def _postgres(self) -> Service:
        try:
            missing = self.lines("missing.sql", "postgres")
        except StackError as error:
            return Service("postgres", False, str(error).splitlines()[-1])
        return Service(
            "postgres", not missing, f"without {', '.join(missing)}" if missing else "healthy"
        )

    def _airflow(self) -> Iterator[Service]:
        web = _answers("webserver", f"{self.web_url}/health")
        yield web
        health: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            health = get_json(f"{self.web_url}/health")
        for name in ("scheduler", "triggerer"):
            state = health.get(name, {}).get("status") or "unknown"
            yield Service(name, state == "healthy", str(state))


def _answers(name: str, url: str) -> Service:
    try:
        get_json(url)
    except (OSError, ValueError) as error:
        return Service(name, False, f"no answer ({error})")
    return Service(name, True, "healthy")


def _libpq(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
    }


def _target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
