"""The provider's tests on every Airflow and every Python that this machine has: `make test-matrix`.

Interpreters are tried by running them, because a name on PATH may be a shim of a version manager
with nothing behind it. Each pair gets an environment of its own, from the lock by hashes, which
is removed afterwards. Fails if a test fails, or if either Airflow had no interpreter.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".cache" / "matrix"
# Per Airflow: its lock, and the Pythons that it supports.
AIRFLOWS = {
    "2.11": ("airflow-2.11.txt", ["3.10", "3.11", "3.12"]),
    "3": ("airflow-3.txt", ["3.10", "3.11", "3.12", "3.13"]),
}
# What the lock of 2.11 leaves to the lock of the tools.
TOOLS = {"2.11": ["tools.txt"], "3": []}
PROBE = "import ensurepip, ssl, sqlite3, sys, venv; print('%d.%d' % sys.version_info[:2])"


def interpreters() -> dict[str, str]:
    """Return an interpreter by version, as far as one runs."""
    found: dict[str, str] = {}
    for candidate in _candidates():
        try:
            done = subprocess.run(
                [candidate, "-c", PROBE], capture_output=True, text=True, check=False, timeout=60
            )
        except OSError:
            continue
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), candidate)
    return found


def _candidates() -> Iterator[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in ("3.10", "3.11", "3.12", "3.13"):
        yield f"python{version}"
        yield from map(str, sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True))
    yield from (sys.executable, "python3", "/usr/bin/python3")


def run(airflow: str, python: str, interpreter: str, wheel: Path) -> tuple[bool, str]:
    """Make an environment and run the tests in it; returns whether they passed, and a line."""
    folder = HOME / f"airflow-{airflow}-python-{python}"
    own = str(folder / "bin" / "python")
    locks = [ROOT / "requirements" / name for name in (AIRFLOWS[airflow][0], *TOOLS[airflow])]
    pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    hashed = [*pip, "--require-hashes", "--no-build-isolation"]
    began = time.monotonic()
    steps = [
        [interpreter, "-m", "venv", "--clear", str(folder)],
        [*hashed, "-r", str(ROOT / "requirements" / "bootstrap.txt")],
        [*hashed, *(argument for lock in locks for argument in ("-r", str(lock)))],
        [*pip, str(wheel)],
        [own, "-m", "pytest", "-p", "no:cacheprovider", "-q", "tests/provider"],
    ]
    try:
        for step in steps:
            done = subprocess.run(step, cwd=ROOT, check=False)
            if done.returncode != 0:
                return False, f"failed: {' '.join(step[1:4])}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return True, f"passed in {time.monotonic() - began:.0f} s"


def main() -> int:
    """Run what was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--airflow", choices=sorted(AIRFLOWS), action="append")
    parser.add_argument("--python", action="append", help="such as 3.12; all by default")
    parser.add_argument("--wheel", type=Path, required=True)
    asked = parser.parse_args()
    found = interpreters()
    for version, path in sorted(found.items()):
        print(f"found Python {version}: {path}")
    failed = False
    table = []
    for airflow in asked.airflow or sorted(AIRFLOWS):
        wanted = [each for each in AIRFLOWS[airflow][1] if each in (asked.python or found)]
        there = [each for each in wanted if each in found]
        # A Python that was asked for by name is missed by name.
        for python in [each for each in wanted if each not in found] or ["-"] * (not there):
            failed = True
            table.append((airflow, python, "failed: no interpreter for it was found"))
        for python in there:
            passed, line = run(airflow, python, found[python], asked.wheel.resolve())
            failed |= not passed
            table.append((airflow, python, line))
            print(f"Airflow {airflow}, Python {python}: {line}", flush=True)
    print()
    for airflow, python, line in table:
        print(f"Airflow {airflow:<5} Python {python:<5} {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
