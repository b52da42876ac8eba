"""What can be said of images, compose file, shell scripts, units and stack.ps1 without starting them.

`make lint` runs this file. Docker's client and systemd are asked where they exist; what is not looked
at is said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from stack import environment  # noqa: E402

import powershell  # noqa: E402 (beside this file)

COMPOSE_FILES = ("docker-compose.yml", "docker/postgres/compose.yml")
PREFIX = "/opt/sse-stream"
# The unit files' programs, put in place as empty ones, so that systemd finds something to run.
PROGRAMS = ("bin/restaurant-api", "bin/metrics-api", "venv/bin/python", "venv/bin/airflow")
# Of 10 at most, by systemd's own scale.
MOST_EXPOSED = 2.5


def main() -> int:
    """Print every breach and return the exit code."""
    checks = (shells, dockerfiles, compose_file, secrets_in_git, units)
    breaches = [breach for check in checks for breach in check()]
    for breach in breaches:
        print(breach, file=sys.stderr)
    print(f"containers: {len(breaches)} problems")
    return 1 if powershell.main() or breaches else 0


def shells() -> Iterator[str]:
    """Ask shellcheck about every shell script in git."""
    files = [*_tracked("*.sh"), ".ci/run"]
    yield from _complaints("shellcheck", *files)


def dockerfiles() -> Iterator[str]:
    """Ask hadolint about every Dockerfile in git; their base images, being arguments, ourselves."""
    files = _tracked("*Dockerfile")
    yield from _complaints("hadolint", *files)
    for file in files:
        for line in Path(ROOT, file).read_text().splitlines():
            name, _, image = line.removeprefix("ARG ").partition("=")
            is_base = line.startswith("ARG ") and name.endswith("_IMAGE")
            if is_base and (":" not in image or image.endswith(":latest")):
                yield f"{file}: {name} is not pinned to a tag"


def compose_file() -> Iterator[str]:
    """Ask Docker's client: real secrets are taken, each empty one is refused by its name."""
    if shutil.which("docker") is None or not _compose(["version"], {}).stdout:
        print("not looked at here: docker compose config (there is no client)")
        return
    names = [name for name in environment.read(environment.EXAMPLE) if environment.is_secret(name)]
    real = {name: f"{name.lower()}-0123456789abcdef" for name in names}
    for file in COMPOSE_FILES:
        done = _compose(["-f", file, "config", "--quiet"], real)
        if done.returncode != 0:
            yield f"{file}: {done.stderr.strip()}"
    known = _compose(["config", "--no-interpolate"], {}).stdout
    for name in environment.read(environment.EXAMPLE):
        if f"${{{name}" not in known:
            yield f".env.example: {name} has no effect on docker-compose.yml"
    for file in COMPOSE_FILES:
        text = Path(ROOT, file).read_text()
        for name in (name for name in names if f"${{{name}" in text):
            done = _compose(["-f", file, "config", "--quiet"], {**real, name: ""})
            if done.returncode == 0:
                yield f"{file} takes an empty {name}"


def secrets_in_git() -> Iterator[str]:
    """The example holds no secret, a copy of it is refused, and .env is nothing for git."""
    example = environment.read(environment.EXAMPLE)
    for name, value in example.items():
        if environment.is_secret(name) and value:
            yield f".env.example: {name} has a value"
    refused = " ".join(environment.problems(example))
    for name in example:
        if environment.is_secret(name) and name not in refused:
            yield f"the example's {name} would be accepted"
    ignored = subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=ROOT, check=False)
    if ignored.returncode != 0:
        yield ".env is not ignored by git"


def units() -> Iterator[str]:
    """Ask systemd-analyze about the units, with programs where they expect them."""
    if shutil.which("systemd-analyze") is None:
        print("not looked at here: systemd-analyze verify (there is none)")
        return
    with tempfile.TemporaryDirectory() as folder:
        for program in PROGRAMS:
            path = Path(folder, program)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to("/bin/true")
        for unit in (ROOT / "systemd").iterdir():
            Path(folder, unit.name).write_text(unit.read_text().replace(PREFIX, folder))
        names = sorted(unit.name for unit in (ROOT / "systemd").iterdir())
        done = _run(["systemd-analyze", "verify", *(f"./{name}" for name in names)], folder)
        if done.returncode != 0 or done.stderr.strip():
            yield f"systemd-analyze verify: {done.stderr.strip()}"
        for name in (name for name in names if name.endswith(".service")):
            done = _run(["systemd-analyze", "security", "--offline=true", f"./{name}"], folder)
            level = done.stdout.rpartition("level for")[2].split(":")[-1].split()
            if not level or float(level[0]) > MOST_EXPOSED:
                yield f"{name}: exposure {level[:1]}, at most {MOST_EXPOSED} is wanted"


def _complaints(program: str, *files: str) -> Iterator[str]:
    # From the interpreter's own folder: that is the version the lock pins.
    done = _run([str(Path(sys.executable).with_name(program)), *files], str(ROOT))
    if done.returncode != 0:
        yield f"{program}: {(done.stdout or done.stderr).strip()}"


def _tracked(pattern: str) -> list[str]:
    done = _run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern], str(ROOT)
    )
    return done.stdout.split()


def _compose(arguments: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["docker", "compose", "--env-file", str(environment.EXAMPLE), *arguments]
    return _run(command, str(ROOT), {**os.environ, **variables})


def _run(
    command: list[str], folder: str, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
