"""The wheel in an environment that holds nothing else, and the sdist it can be built from."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _maturin(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "maturin", *arguments]
    environment = {
        **os.environ,
        # The dependencies were compiled for the checkout already.
        "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target")),
        "PYO3_PYTHON": sys.executable,
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `make` built, else a fresh one."""
    built = sorted((ROOT / "dist").glob("*.whl"))
    if built:
        return built[-1]
    folder = tmp_path_factory.mktemp("wheel")
    _maturin(ROOT, "build", "--release", "--locked", "--out", str(folder))
    return _only(folder, "*.whl")


def _try(wheel: Path, folder: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([str(python), *install], check=True)
    code = (
        "import sse_stream, sse_stream._native as native\n"
        "from sse_stream import event_processor, SSEStreamError\n"
        "from sse_stream.presets import load_preset\n"
        "preset = load_preset('restaurant')\n"
        "print(native.__version__, preset.name, len(preset.migrations) > 0)\n"
        "print(native.Parser().feed(b'data: x\\n\\n')[0]['data'])\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    usage = subprocess.run(
        [str(python.with_name("sse-stream")), "--help"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "usage: sse-stream" in usage.stdout
    return done.stdout


def test_the_wheel_works_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    version, name, has_migrations, data = _try(wheel, tmp_path / "env").split()
    assert (name, has_migrations, data) == ("restaurant", "True", "x")
    assert f"-{version}-" in wheel.name


def test_one_wheel_serves_every_python_from_3_10_on(wheel: Path) -> None:
    assert "-cp310-abi3-" in wheel.name


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {
        "sse_stream",
        "airflow_provider_sse_stream",
    }
    assert "sse_stream/py.typed" in names
    assert "sse_stream/_native.pyi" in names
    assert len([name for name in names if name.endswith(".so")]) == 1
    shipped = {path.name for path in (ROOT / "python").rglob("*.sql")}
    assert shipped <= {Path(name).name for name in names}
    assert not [name for name in names if "__pycache__" in name or "test" in name]


def test_the_sdist_builds(tmp_path: Path) -> None:
    _maturin(ROOT, "sdist", "--out", str(tmp_path))
    with tarfile.open(_only(tmp_path, "*.tar.gz")) as archive:
        assert not [name for name in archive.getnames() if "restaurant-api" in name]
        archive.extractall(tmp_path, filter="data")
    folder = _only(tmp_path, "airflow_provider_sse_stream-*/")
    _maturin(folder, "build", "--release", "--offline", "--out", str(tmp_path / "wheels"))
    assert "restaurant True" in _try(_only(tmp_path / "wheels", "*.whl"), tmp_path / "env")
