"""Findings in words, and numbers as people read them: nothing here asks anybody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sse_stream.cli.findings import _WORDS, Place, source_findings, word
from sse_stream.cli.status import lag
from sse_stream.cli.surroundings import Source
from sse_stream.cli.words import age, count, gap_words, label, table

ENGINE = Path(__file__).resolve().parents[2] / "src" / "ingest" / "src" / "doctor.rs"
PLACE = Place(
    stream="shop",
    preset="shop",
    variable="shop_stream_offset",
    database=" --conn-id db",
    role="worker",
    source_url="http://api/stream",
    position=5,
)
EXAMPLES: dict[str, dict[str, Any]] = {
    "not_migrated": {},
    "migration_pending": {"owner": "shop", "versions": ["0002 more"]},
    "migration_changed": {"owner": "shop", "versions": ["0001 first"]},
    "migration_unknown": {"owner": "shop", "versions": ["0009 later"]},
    "right_missing": {"object": "table sse_stream.gaps", "right": "update"},
    "table_unusable": {"message": "table shop.raw does not exist"},
    "offset_missing": {},
    "rewind_pending": {"from": 5, "to": 2},
    "mirror_not_a_number": {"mirror": "x"},
    "mirror_beyond": {"mirror": 9, "high_water": 5},
    "mirror_counted": {"mirror": 9},
    "source_unreachable": {"problem": "http://api/health answers 503"},
    "epoch_differs": {"source": "two", "epoch": "one"},
    "position_beyond_head": {"head": 3},
    "position_not_retained": {"first": 6, "last": 9},
    "rows_above_offset": {
        "table": "shop.raw",
        "highest": 9,
        "position": 5,
        "unprotected": "shop.visits",
    },
    "rows_below_offset": {"table": "shop.raw", "highest": None, "position": 5},
    "run_lost": {
        "dag_id": "d",
        "task_id": "t",
        "run_id": "r",
        "try_number": 1,
        "log_url": "http://log",
        "started_at": "2026-01-01T00:00:00.1+00:00",
    },
    "gaps_open": {
        "gaps": 1,
        "offsets": 2,
        "newest": {"first_missed": 3, "last_missed": 4, "epoch": "one", "noticed_by": "gone"},
        "counted": False,
    },
    "dead_letters_open": {
        "count": 2,
        "tolerated": 1,
        "reasons": [{"count": 2, "reason_code": "conflict"}],
    },
    "waiting_too_long": {"events": 1, "seconds": 7200},
    "silent": {"seconds": 3600},
}


def test_every_code_has_words() -> None:
    text = ENGINE.read_text()
    engine = set(re.findall(r'"code": "(\w+)"', text)) | set(
        re.findall(r'\("(migration_\w+)"', text)
    )
    assert len(engine) > 10
    assert engine <= set(_WORDS)
    assert set(_WORDS) == set(EXAMPLES)


@pytest.mark.parametrize("code", sorted(EXAMPLES))
def test_each_finding_says_what_it_means_and_what_repairs_it(code: str) -> None:
    found = word({"code": code, **EXAMPLES[code]}, PLACE)
    assert found.code == code
    for text in (found.seen, found.means, found.repair):
        assert text
        assert "{" not in text
    for name, value in EXAMPLES[code].items():
        if type(value) is int and name not in ("seconds", "first"):
            assert str(value) in found.seen + found.means + found.repair, name
    if "python -m" in found.repair:
        assert "--conn-id db" in found.repair


@pytest.mark.parametrize(
    ("position", "epoch", "source", "expected"),
    [
        (5, "one", Source(url="u", epoch="one", head=5, oldest=1, reached=True), None),
        (5, "one", Source(url="u", epoch="one", head=9, oldest=6, reached=True), None),
        (5, None, Source(url="u", epoch="two", head=9, oldest=1, reached=True), None),
        (5, "one", Source(url="u", reached=True, unknown="tells nothing"), None),
        (5, "one", Source(unknown="not named"), None),
        (
            5,
            "one",
            Source(url="u", epoch="one", head=9, oldest=8, reached=True),
            {"code": "position_not_retained", "first": 6, "last": 7},
        ),
        (
            5,
            "one",
            Source(url="u", epoch="one", head=4, oldest=1, reached=True),
            {"code": "position_beyond_head", "head": 4},
        ),
        (
            5,
            "one",
            Source(url="u", epoch="two", head=4, oldest=1, reached=True),
            {"code": "epoch_differs", "source": "two", "epoch": "one"},
        ),
        (
            5,
            "one",
            Source(url="u", unknown="refused"),
            {"code": "source_unreachable", "problem": "refused"},
        ),
    ],
)
def test_the_source_is_compared_with_the_offset(
    position: int, epoch: str | None, source: Source, expected: dict[str, Any] | None
) -> None:
    found = source_findings({"position": position, "epoch": epoch}, source)
    assert found == ([] if expected is None else [expected])


def test_lag_is_a_number_only_where_it_is_known() -> None:
    row = {"position": 5, "epoch": "one"}
    assert lag(row, Source(epoch="one", head=7)) == (2, "2 events behind the source, which is at 7")
    assert lag(row, Source(epoch="one", head=5))[0] == 0
    for source in (
        Source(unknown="no source is named"),
        Source(epoch="two", head=7),
        Source(epoch="one", head=4),
    ):
        number, words = lag(row, source)
        assert number is None
        assert words.startswith("unknown: ")


def test_numbers_as_people_read_them() -> None:
    assert [age(seconds) for seconds in (0, 119, 120, 7200, 200_000)] == [
        "0 s ago",
        "119 s ago",
        "2 min ago",
        "2 h ago",
        "2 d ago",
    ]
    assert age(None, "never") == "never"
    assert [count(1, "event"), count(2, "event")] == ["1 event", "2 events"]
    assert label({"dag_id": "d", "task_id": "t", "map_index": 3}) == "d.t[3]"
    assert label({"dag_id": "", "task_id": "", "map_index": -1}) == "-"
    assert table([("a", "b"), ("long", "")]) == ["a     b", "long"]


def test_a_gap_among_counted_offsets_is_of_unknown_size() -> None:
    gap = {"first_missed": 3, "last_missed": 3, "epoch": "", "noticed_by": "gone"}
    assert gap_words(gap, counted=False) == "3 to 3, by gone"
    assert gap_words(gap, counted=True) == "an unknown number before 4, by gone"
    found = {"code": "gaps_open", "gaps": 1, "offsets": 1, "newest": gap, "counted": True}
    finding = word(found, PLACE)
    assert "unknown number" in finding.seen
    # Nobody can move such an offset.
    assert "reset" not in finding.repair
