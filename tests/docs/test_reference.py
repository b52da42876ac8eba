"""What the reference lists is what the sources have: no code, key, command or table is left out."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest
from doc_world import ROOT

from sse_stream import errors
from sse_stream.__main__ import _COMMANDS

REFERENCE = ROOT / "docs" / "reference"
ENGINE = ROOT / "src" / "ingest" / "src"


def _listed(page: str, heading: str) -> set[str]:
    """Names in the first column of the page's table with that heading."""
    table = (REFERENCE / page).read_text().partition(f"| {heading} |")[2].partition("\n\n")[0]
    return {
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.removeprefix("|").partition("|")[0])
    }


def _in_engine(pattern: str, *files: str) -> set[str]:
    return {
        name
        for file in files
        for path in sorted(ENGINE.glob(file))
        if not path.stem.startswith("test")
        for name in re.findall(pattern, path.read_text().partition("#[cfg(test)]")[0])
    }


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The site's generator of pages."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_reason_code() -> None:
    given = _in_engine(r'(?:Reason::new|dead)\(\s*"(\w+)"', "*.rs", "*/*.rs")
    by_state = _in_engine(r'(?:"\d\w+"|starts_with\("\d+"\)) => "(\w+)"', "land/judge.rs")
    assert _listed("reasons.md", "code") == given | by_state


def test_every_key_of_the_report() -> None:
    door = (ROOT / "src/native/src/run.rs").read_text().partition("fn as_json")[2]
    assert _listed("report.md", "key") == set(re.findall(r'^ {8}"(\w+)":', door, re.MULTILINE))


def test_every_stop_reason() -> None:
    reasons = _in_engine(r'Self::\w+ => "(\w+)"', "report.rs")
    assert _listed("report.md", "stop reason") == reasons


def test_every_error() -> None:
    assert _listed("errors.md", "error") == set(errors.__all__) - {"SSEStreamError"}
    page = (REFERENCE / "errors.md").read_text()
    for name in errors.__all__:
        if row := re.search(rf"^\| `{name}` .*\| (yes|no) \|$", page, re.MULTILINE):
            assert (row[1] == "yes") is getattr(errors, name).transient


def test_every_command(generate: ModuleType) -> None:
    page = generate.pages()["cli"]
    for command in _COMMANDS:
        assert re.search(rf"^## {command}\b", page, re.MULTILINE)


def test_every_table_with_its_columns(generate: ModuleType) -> None:
    page = generate.pages()["tables"]
    tables = page.split("\n## sse_stream.")[1:]
    listed = {
        (table.split()[0], column)
        for table in tables
        for column in re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    }
    dump = (ROOT / "tests/fixtures/schema.sql").read_text()
    there = set(re.findall(r"^sse_stream\.(\w+)\.\d+\. (\w+)", dump, re.MULTILINE))
    # The runner of migrations makes its own table; the view is told of in words.
    assert listed == {each for each in there if each[0] not in ("migrations", "streams")}


def test_every_key_of_a_preset(generate: ModuleType) -> None:
    page = generate.pages()["preset"]
    for file, title in (("stream", "StreamSpec"), ("route", "RouteSpec")):
        text = (ENGINE / f"preset/{file}.rs").read_text()
        body = text.partition(f"pub struct {title} {{")[2].partition("\n}")[0]
        names = set(re.findall(r'rename = "(\w+)"', body))
        names |= set(re.findall(r"^ {4}pub(?:\(crate\))? (\w+):", body, re.M)) - {"event_type"}
        assert names
        for name in names:
            assert f"| `{name}` |" in page, name
