"""The stack of docker-compose.yml. Needs Docker with its compose plugin, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from stack import environment
from stack.contract import ROOT, Service, Stack, StackError, finish, require

ONE_SHOTS = ("migrate", "airflow-init")
# Whatever writes to the databases.
WRITERS = ("scheduler", "triggerer", "webserver")
PORTS = {
    "POSTGRES_EXTERNAL_PORT": ("postgres", 5432),
    "PGADMIN_EXTERNAL_PORT": ("pgadmin", 80),
    "AIRFLOW_EXTERNAL_PORT": ("webserver", 8080),
    "RESTAURANT_API_EXTERNAL_PORT": ("restaurant-api", 8000),
    "METRICS_API_EXTERNAL_PORT": ("metrics-api", 8010),
}
READY_SECONDS = 420
UNHEALTHY_SECONDS = 90
PROJECT = "sse-stream"


class Compose(Stack):
    """One compose project; COMPOSE_PROJECT_NAME and STACK_ENV_FILE make a second one."""

    kind = "compose"

    def __init__(self) -> None:
        self.project = os.environ.get("COMPOSE_PROJECT_NAME") or PROJECT
        self.title = f"compose (project {self.project}, settings {environment.path().name})"

    def is_running(self) -> bool:
        """Say whether any container of the project runs; without Docker none does."""
        if shutil.which("docker") is None:
            return False
        label = f"label=com.docker.compose.project={self.project}"
        done = finish(["docker", "ps", "--quiet", "--filter", label], seconds=30)
        return done.returncode == 0 and bool(done.stdout.strip())

    def up(self) -> None:
        """Build what changed, start, and wait until every service is well."""
        self._require_engine()
        filled = environment.make()
        if filled:
            print(f"{environment.path()}: {len(filled)} secrets made", flush=True)
        environment.require_secrets()
        self._require_free_ports()
        self._visibly("build", "--quiet", *(["--pull"] if os.environ.get("PULL") == "1" else []))
        self._visibly("up", "--detach", "--no-build", "--remove-orphans", "--quiet-pull")
        self._await_well()
        self.show()

    def down(self) -> None:
        """Stop and remove the containers; volumes stay."""
        environment.make()  # the compose file cannot be read without its variables
        self._visibly("down", "--remove-orphans")

    def destroy(self) -> None:
        """Remove containers and volumes; images and .env stay."""
        environment.make()
        self._visibly("down", "--volumes", "--remove-orphans")

    def services(self) -> list[Service]:
        """Look at the container of every service of the file."""
        found = {container["Service"]: container for container in self._containers()}
        wanted = require(self._compose("config", "--services"), "docker compose config").split()
        return [_judge(name, found.get(name)) for name in sorted(wanted)]

    def show(self) -> None:
        """Print each service, and where a person finds it."""
        for service in self.services():
            print(f"  {service.name:<16}{service.state}")
        values = environment.settings()
        print(
            f"\n  live page    {self._url('METRICS_API_EXTERNAL_PORT')}\n"
            f"  Airflow      {self.web_url}   login {values['AIRFLOW_ADMIN_USER']},"
            f" AIRFLOW_ADMIN_PASSWORD in {environment.path().name}\n"
            f"  pgAdmin      {self._url('PGADMIN_EXTERNAL_PORT')}   login"
            f" {values['PGADMIN_DEFAULT_EMAIL']}, PGADMIN_DEFAULT_PASSWORD\n"
            f"  generator    {self.api_url}/docs"
        )

    def follow_logs(self) -> int:
        """Hand over to `docker compose logs`."""
        command = self._command("logs", "--tail", "200", "--follow")
        with suppress(KeyboardInterrupt):
            return subprocess.call(command, cwd=ROOT)
        return 0

    def log_texts(self, lines: int) -> Iterator[tuple[str, str]]:
        """Yield each service's log."""
        for service in self.services():
            done = self._compose(
                "logs", "--no-color", "--timestamps", "--tail", str(lines), service.name
            )
            yield service.name, done.stdout + done.stderr

    def description(self) -> str:
        """Return the resolved compose file and what Docker says of itself."""
        parts = [self._compose("config"), self._compose("version"), finish(["docker", "version"])]
        return "\n".join(done.stdout + done.stderr for done in parts)

    def secrets(self) -> Sequence[str]:
        """Return the secrets of the environment file."""
        return [
            value
            for name, value in environment.settings().items()
            if value and environment.is_secret(name)
        ]

    def ports(self) -> Mapping[str, tuple[str, int, bool]]:
        """Return the published ports, and whether our containers hold them."""
        running = {each["Service"] for each in self._containers() if each["State"] == "running"}
        values = environment.settings()
        return {
            variable: (service, int(values[variable]), service in running)
            for variable, (service, _) in PORTS.items()
        }

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in a container of its own, which needs no other one to run."""
        options = ("run", "--rm", "--no-deps", "-T", "--quiet-pull", "--workdir", "/opt/stack")
        # The image's entrypoint names the user; it need not wait for a database, we shall see.
        unwaiting = ("--env", "CONNECTION_CHECK_MAX_COUNT=0")
        return self._compose(*options, *unwaiting, "airflow-init", "python", *arguments)

    def database_tool(
        self, *command: str, source: IO[bytes] | None = None, target: IO[bytes] | None = None
    ) -> str:
        """Run it in the server's container, by the socket that trusts its superuser."""
        placed = [part.replace("docker/postgres/", "/opt/stack/postgres/") for part in command]
        user = environment.settings()["POSTGRES_SUPERUSER"]
        given = self._command("exec", "-T", "--env", f"PGUSER={user}", "postgres", *placed)
        done = finish(given, source=source, target=target, seconds=3600)
        return require(done, f"{command[0]} in the container postgres")

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Stop the writers, prepare the databases, and start everything at the end."""
        self._require_engine()
        environment.make()
        environment.require_secrets()
        ran = self.is_running()
        self._visibly("stop", *WRITERS)
        self._visibly("up", "--detach", "--no-build", "--quiet-pull", "airflow-init")
        self._await_well(only=("postgres", *ONE_SHOTS))
        try:
            yield
        except BaseException:
            # What did not run before shall not begin to write after a failure.
            if ran:
                self._visibly("up", "--detach", "--no-build", "--quiet-pull")
            raise
        self._visibly("up", "--detach", "--no-build", "--quiet-pull")
        self._await_well()

    def engine_problems(self) -> list[str]:
        """Look for docker, its daemon and its compose plugin."""
        if shutil.which("docker") is None:
            return ["docker is not installed, or not on PATH"]
        found = []
        if finish(["docker", "info"], seconds=60).returncode != 0:
            found.append("the Docker daemon does not answer this user")
        if finish(["docker", "compose", "version"]).returncode != 0:
            found.append("the compose plugin of Docker is missing")
        return found

    def setting_problems(self) -> list[str]:
        """Look at the environment file, at git's view of it, and at the compose file with it."""
        file = environment.path()
        if not file.exists():
            return [f"{file} is missing: run make env"]
        found = environment.problems(environment.settings())
        if os.name == "posix" and file.stat().st_mode & 0o077:
            found.append(f"{file} can be read by other users: chmod 600 {file.name}")
        with suppress(StackError):
            known = finish(["git", "ls-files", "--error-unmatch", str(file)])
            if known.returncode == 0:
                found.append(f"{file.name} is in git: git rm --cached {file.name}")
        checked = self._compose("config", "--quiet")
        if checked.returncode != 0:
            found.append(f"docker compose config: {checked.stderr.strip().splitlines()[-1]}")
        return found

    def free_bytes(self) -> Mapping[str, int]:
        """Ask the checkout's file system and that of the server's volume."""
        found = {str(ROOT): shutil.disk_usage(ROOT).free}
        with suppress(StackError, ValueError, IndexError):
            rows = self.database_tool("df", "-Pk", "/var/lib/postgresql/data").splitlines()
            found["the volume postgres-data"] = int(rows[-1].split()[3]) * 1024
        return found

    @property
    def api_url(self) -> str:
        """The generator's address on this machine."""
        return self._url("RESTAURANT_API_EXTERNAL_PORT")

    @property
    def web_url(self) -> str:
        """Airflow's address on this machine."""
        return self._url("AIRFLOW_EXTERNAL_PORT")

    def _url(self, variable: str) -> str:
        values = environment.settings()
        bound = values["BIND_ADDRESS"]
        host = "127.0.0.1" if bound in ("0.0.0.0", "::") else bound  # noqa: S104 (compared)
        return f"http://{host}:{values[variable]}"

    def _command(self, *arguments: str) -> list[str]:
        file = environment.path()
        chosen = ["--env-file", str(file)] if file.exists() else []
        return ["docker", "compose", "--project-name", self.project, *chosen, *arguments]

    def _compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return finish(self._command(*arguments))

    def _visibly(self, *arguments: str) -> None:
        """Run it with its output on our terminal; raise StackError if it fails."""
        sys.stdout.flush()
        code = subprocess.call(self._command(*arguments), cwd=ROOT, stdin=subprocess.DEVNULL)
        if code != 0:
            raise StackError(f"docker compose {arguments[0]} ended with code {code}")

    def _containers(self) -> list[dict[str, Any]]:
        text = require(self._compose("ps", "--all", "--format", "json"), "docker compose ps")
        # One object to a line, or one list of all: versions differ.
        listed = [json.loads(line) for line in text.splitlines() if line.strip()]
        flat = listed[0] if listed and isinstance(listed[0], list) else listed
        # Not the containers of `docker compose run`.
        return [each for each in flat if "compose.oneoff=True" not in str(each.get("Labels", ""))]

    def _await_well(self, only: Sequence[str] = ()) -> None:
        began = time.monotonic()
        while True:
            services = [each for each in self.services() if not only or each.name in only]
            ill = [each for each in services if not each.is_well]
            if not ill:
                return
            waited = time.monotonic() - began
            broken = [each for each in ill if _is_hopeless(each, waited)]
            if broken or waited > READY_SECONDS:
                raise StackError("\n".join(self._why(each) for each in broken or ill))
            time.sleep(2)

    def _why(self, service: Service) -> str:
        done = self._compose("logs", "--no-log-prefix", "--tail", "15", service.name)
        return f"service {service.name} is {service.state}\n{done.stdout}{done.stderr}".rstrip()

    def _require_engine(self) -> None:
        found = self.engine_problems()
        if found:
            raise StackError("\n".join(found))

    def _require_free_ports(self) -> None:
        from stack.doctor import busy_ports

        found = busy_ports(self)
        if found:
            raise StackError("\n".join(f"{each.seen}: {each.repair}" for each in found))


def _judge(name: str, container: dict[str, Any] | None) -> Service:
    """Say how a service is: one-shots have ended with 0, the others run and are healthy."""
    if container is None:
        return Service(name, False, "not there")
    state, health = container["State"], container.get("Health", "")
    if name in ONE_SHOTS:
        code = container["ExitCode"]
        is_done = state == "exited" and code == 0
        return Service(name, is_done, "done" if is_done else f"{state} with code {code}")
    if state == "running":
        return Service(name, health in ("", "healthy"), health or "running")
    return Service(name, False, f"{state} with code {container['ExitCode']}")


def _is_hopeless(service: Service, waited_seconds: float) -> bool:
    """Say whether waiting longer is of no use. A verdict from before the start needs its time."""
    ended = service.name in ONE_SHOTS and service.state.startswith("exited")
    return ended or (service.state == "unhealthy" and waited_seconds > UNHEALTHY_SECONDS)
