"""Presets: one feed is one folder with ``preset.toml`` (routes) and ``migrations/*.sql``.

A preset that comes with this package is named; one of your own is given as the path of
its folder or of its TOML file, or as a :class:`sse_stream.Stream`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sse_stream.errors import ConfigError
from sse_stream.routes import Stream

__all__ = ["Migration", "Preset", "load_preset", "raw_preset"]

_SHIPPED = Path(__file__).parent
_TOML_NAME = "preset.toml"
_MIGRATION = re.compile(r"^(\d{1,9})_([a-z0-9_]+)\.sql$")
_STREAM_TABLE = re.compile(r"^\s*\[stream\]\s*(?:#.*)?$")
_ANY_TABLE = re.compile(r"^\s*\[")
_NAME = re.compile(r"""^\s*name\s*=\s*(["'])([A-Za-z0-9_.-]+)\1""")


@dataclass(frozen=True)
class Migration:
    """One numbered SQL file of a preset."""

    version: int
    name: str
    sql: str


@dataclass(frozen=True)
class Preset:
    """A feed: its name, its routes as TOML text, and its migrations in order."""

    name: str
    toml: str
    migrations: tuple[Migration, ...]


def raw_preset(table: str) -> Preset:
    """Return the preset of a feed of which nothing is known, for its raw ``table``."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", table) if isinstance(table, str) else ""
    return load_preset(Stream(name=name, ids="any"))


def load_preset(preset: str | Path | Stream) -> Preset:
    """Load a preset by the name of a shipped one or by path, or take one made in Python.

    Raises:
        ConfigError: the preset does not exist, has no stream name, or a migration is
            misnamed.
    """
    if isinstance(preset, Stream):
        return Preset(name=preset.name, toml=preset.toml, migrations=())
    if isinstance(preset, Path):
        preset = str(preset.absolute())
    toml_path = _toml_path(preset)
    try:
        text = toml_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"preset {preset!r} cannot be read: {type(error).__name__}") from error
    return Preset(
        name=_stream_name(text, preset),
        toml=text,
        migrations=_migrations(toml_path.parent / "migrations"),
    )


def _toml_path(preset: str) -> Path:
    is_path = "/" in preset or "\\" in preset or preset.endswith(".toml") or preset in (".", "..")
    folder = Path(preset) if is_path else _SHIPPED / preset
    path = folder if folder.suffix == ".toml" else folder / _TOML_NAME
    if path.is_file():
        return path
    if is_path:
        raise ConfigError(f"preset {preset!r} is not a folder with a {_TOML_NAME} or a TOML file")
    shipped = ", ".join(sorted(p.parent.name for p in _SHIPPED.glob(f"*/{_TOML_NAME}")))
    raise ConfigError(
        f"preset {preset!r} does not exist; shipped presets: {shipped or 'none'}; "
        "give a path for one of your own"
    )


def _stream_name(text: str, preset: str) -> str:
    # Python 3.10 has no TOML parser. The engine parses and validates the text in full;
    # here only the stream's name is needed, to name its Airflow Variable.
    inside = False
    for line in text.splitlines():
        if _ANY_TABLE.match(line):
            inside = _STREAM_TABLE.match(line) is not None
        elif inside and (found := _NAME.match(line)):
            return found.group(2)
    raise ConfigError(
        f"preset {preset!r} has no [stream] name of letters, digits, '.', '_' and '-'; "
        'write name = "..." below a line [stream]'
    )


def _migrations(folder: Path) -> tuple[Migration, ...]:
    migrations: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        found = _MIGRATION.match(path.name)
        if found is None:
            raise ConfigError(
                f"migration {path.name!r} is misnamed; use <number>_<lower_case_name>.sql"
            )
        version = int(found.group(1))
        if version in migrations:
            raise ConfigError(f"migration number {version} is used twice; renumber {path.name!r}")
        migrations[version] = Migration(version, found.group(2), path.read_text(encoding="utf-8"))
    return tuple(migrations[version] for version in sorted(migrations))
