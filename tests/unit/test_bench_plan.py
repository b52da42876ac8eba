"""The bench as a command: what it is asked for, and the peers' own arithmetic."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench import sections
from bench.chart import chart
from bench.figures import Sample
from bench.plan import ROOT, BenchError, Plan
from bench.results import Section, document


def test_the_environment_decides_how_much_is_measured() -> None:
    assert Plan.of({}) == Plan()
    assert Plan.of({"BENCH_QUICK": "0"}) == Plan()
    quick = Plan.of({"BENCH_QUICK": "1", "ONLY": "parser, schema", "BENCH_ROUNDS": "2"})
    assert (quick.quick, quick.rounds, quick.only) == (True, 2, ("parser", "schema"))
    assert quick.events < Plan().events
    with pytest.raises(BenchError, match="BENCH_ROUNDS"):
        Plan.of({"BENCH_ROUNDS": "many"})


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_help_names_the_sections() -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in (*sections.FULL, *sections.ON_DEMAND))


def test_an_unknown_section_is_named_before_anything_starts() -> None:
    done = run(ONLY="throughput speed")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ONLY names speed: there are throughput")


def test_every_section_has_a_module() -> None:
    modules = {path.stem for path in (ROOT / "bench" / "sections").glob("*.py")} - {"__init__"}
    assert modules == {*sections.FULL, *sections.ON_DEMAND}


def test_the_chart_shows_every_contestant() -> None:
    section = Section("all", reference="raw COPY, 1 session")
    section.samples = {
        name: [Sample(1000, seconds, 0.1, 0.1, 1.0)]
        for name, seconds in {"raw COPY, 1 session": 1.0, "ours & theirs <": 2.0}.items()
    }
    about = {"rounds": 1, "events": 1000, "machine": "m", "postgresql": {"server_version": "15"}}
    result = document({"throughput": section}, [], about)
    assert json.loads(json.dumps(result)) == result
    for drawn in (result, document({}, [], about)):
        root = ElementTree.fromstring(chart(drawn))
        bars = root.findall("{http://www.w3.org/2000/svg}rect")
        assert len(bars) == len(drawn["sections"].get("throughput", {}).get("contestants", {}))


def test_the_first_schema_has_the_tables_that_are_loaded() -> None:
    script = (Path(ROOT) / "bench" / "schema_a2.sql").read_text()
    from bench.prebuilt import SCHEMAS

    assert all(f"create table {table} (" in script for table, _, _ in SCHEMAS["a2"])
