"""Presets by name and by path."""

from __future__ import annotations

from pathlib import Path

import pytest

from sse_stream import ConfigError
from sse_stream.presets import load_preset


def _write(folder: Path, toml: str, **migrations: str) -> Path:
    (folder / "migrations").mkdir(parents=True)
    (folder / "preset.toml").write_text(toml)
    for name, sql in migrations.items():
        (folder / "migrations" / f"{name}.sql").write_text(sql)
    return folder


def test_the_shipped_preset_is_found_by_name() -> None:
    preset = load_preset("restaurant")
    assert preset.name == "restaurant"
    assert "analytics.payments" in preset.toml
    versions = [each.version for each in preset.migrations]
    assert versions == sorted(versions)
    assert versions[0] == 1
    assert all(each.sql.strip() for each in preset.migrations)


def test_a_preset_of_ones_own_is_given_by_path(tmp_path: Path) -> None:
    toml = 'title = "x"\n[other]\nname = "no"\n[stream] # here\nid = "sse"\nname = "mine" # yes\n'
    folder = _write(tmp_path / "feed", toml, **{"0002_b": "b", "0010_c": "c", "0001_a": "a"})
    for path in (str(folder), str(folder / "preset.toml")):
        preset = load_preset(path)
        assert preset.name == "mine"
        assert [(m.version, m.name, m.sql) for m in preset.migrations] == [
            (1, "a", "a"),
            (2, "b", "b"),
            (10, "c", "c"),
        ]


@pytest.mark.parametrize("preset", ["nothing", "./nothing", "/nowhere/preset.toml", "", "."])
def test_what_is_not_there_is_named(preset: str) -> None:
    with pytest.raises(ConfigError, match="preset"):
        load_preset(preset)


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="restaurant"):
        load_preset("restaurnat")


def test_a_preset_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[stream\]"):
        load_preset(str(_write(tmp_path / "x", '[route]\nname = "a"\n')))


@pytest.mark.parametrize("name", ["first", "1-first", "0001_First"])
def test_a_misnamed_migration_is_refused(tmp_path: Path, name: str) -> None:
    folder = _write(tmp_path / "x", '[stream]\nname = "a"\n', **{name: "select 1"})
    with pytest.raises(ConfigError, match=name):
        load_preset(str(folder))


def test_a_number_is_used_once(tmp_path: Path) -> None:
    folder = _write(tmp_path / "x", '[stream]\nname = "a"\n', **{"1_a": "", "01_b": ""})
    with pytest.raises(ConfigError, match="twice"):
        load_preset(str(folder))
