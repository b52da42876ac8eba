"""The walls between the rooms of ARCHITECTURE.md, checked: `make lint` runs this file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

DATABASE = {"tokio-postgres", "postgres-types", "postgres-protocol", "sqlx", "diesel"}
PYTHON = {"pyo3", "pyo3-ffi", "pyo3-async-runtimes"}
WEB_SERVER = {"axum", "actix-web", "warp"}
JSON = {"serde_json", "simd-json", "sonic-rs"}

# Crate and its features -> packages that must not be among its dependencies, however deep.
FORBIDDEN_BELOW = {
    ("sse", "--no-default-features"): DATABASE | PYTHON | WEB_SERVER | JSON | {"reqwest", "tokio"},
    ("sse", "--all-features"): DATABASE | PYTHON | WEB_SERVER,
    ("pgtls", "--all-features"): PYTHON | WEB_SERVER | JSON | {"reqwest"},
    ("ingest", "--all-features"): PYTHON | WEB_SERVER | {"restaurant-api"},
    ("native", "--all-features"): WEB_SERVER | {"restaurant-api"},
    ("restaurant-api", "--all-features"): DATABASE | PYTHON | {"ingest", "sse", "native"},
    ("metrics-api", "--all-features"): PYTHON | {"ingest", "sse", "native", "restaurant-api"},
}
# Crate -> packages that it must not name itself, though they come with what it may use.
FORBIDDEN_DIRECTLY = {
    "sse": JSON | {"serde"},
    "native": DATABASE | {"reqwest"},
}
# Folder -> words its sources must not contain: the engine knows no feed.
FORBIDDEN_WORDS = {
    "src/sse/src": ("restaurant", "airflow"),
    "src/pgtls/src": ("restaurant", "airflow"),
    "src/ingest/src": ("restaurant", "airflow", "pyo3"),
    "src/native/src": ("restaurant", "insert into", "create table"),
}
LIGHT_MODULES = ("airflow", "sse_stream._native", "psycopg2", "sqlalchemy")


def main() -> int:
    """Print every breach and return the exit code."""
    breaches = [*crates(), *words(), *dags(), *presets(), *fresh_import()]
    for breach in breaches:
        print(f"wall broken: {breach}", file=sys.stderr)
    print(f"walls: {len(breaches)} broken")
    return 1 if breaches else 0


def crates() -> Iterator[str]:
    """Ask cargo what each crate depends on."""
    for (crate, features), forbidden in FORBIDDEN_BELOW.items():
        for package in sorted(forbidden & (_dependencies(crate, features) - {crate})):
            yield f"crate {crate} ({features}) depends on {package}"
    for crate, forbidden in FORBIDDEN_DIRECTLY.items():
        for package in sorted(forbidden & _dependencies(crate, "--all-features", "--depth=1")):
            yield f"crate {crate} names {package} itself"


def words() -> Iterator[str]:
    """Look for words that a room must not know, in its code without comments and tests."""
    for folder, forbidden in FORBIDDEN_WORDS.items():
        for path in sorted((ROOT / folder).rglob("*.rs")):
            # Tests may use the feed at hand as an example.
            if "tests" in path.relative_to(ROOT / folder).parts or path.stem == "tests":
                continue
            lines = path.read_text().partition("#[cfg(test)]")[0].lower().splitlines()
            code = "\n".join(line for line in lines if not line.lstrip().startswith("//"))
            for word in forbidden:
                if word in code:
                    yield f"{path.relative_to(ROOT)} contains {word!r}"


def dags() -> Iterator[str]:
    """DAG files wire: they import no native code and hold no SQL longer than a line."""
    for path in sorted((ROOT / "dags").glob("*.py")):
        name = path.relative_to(ROOT)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [alias.name for alias in node.names]
                module = getattr(node, "module", None) or ""
                if any("_native" in part for part in (module, *names)):
                    yield f"{name}:{node.lineno} imports _native"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.strip().lower()
                if "\n" in text and text.startswith(("select", "insert", "update", "with")):
                    yield f"{name}:{node.lineno} holds SQL longer than a line"


def presets() -> Iterator[str]:
    """A preset is data and SQL: no code beside them."""
    for path in sorted((ROOT / "python/sse_stream/presets").glob("*/**/*")):
        compiled = "__pycache__" in path.parts
        if path.is_file() and not compiled and path.suffix not in (".sql", ".toml", ".md"):
            yield f"{path.relative_to(ROOT)} is neither TOML nor SQL"


def fresh_import() -> Iterator[str]:
    """`import sse_stream` must be cheap: Airflow imports providers before it is configured."""
    code = (
        "import sys, sse_stream\n"
        f"print(*(name for name in {LIGHT_MODULES!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "python",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        yield f"import sse_stream fails: {done.stderr.strip().splitlines()[-1]}"
    for name in done.stdout.split():
        yield f"import sse_stream loads {name}"


def _dependencies(crate: str, *options: str) -> set[str]:
    command = ["cargo", "tree", "--locked", "--edges=normal", "--prefix=none", "--format={p}"]
    done = subprocess.run(
        [*command, f"--package={crate}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"cargo tree failed for {crate}: {done.stderr}")
    return {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


if __name__ == "__main__":
    sys.exit(main())
