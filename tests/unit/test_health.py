"""Judgements about two looks at source and offset, and about rules."""

from __future__ import annotations

import pytest

from sse_stream.health import Look, failed_rules, judge, look, rules


def _look(head: int | None, position: int | None, source: str = "a", ours: str = "a") -> Look:
    return Look(source_epoch=source, source_head=head, epoch=ours, position=position)


@pytest.mark.parametrize(
    ("before", "now", "status"),
    [
        (None, _look(5, 5), "ok"),
        (None, _look(0, None), "ok"),
        (None, _look(5, None), "failed"),
        (_look(5, 5), _look(9, 8), "ok"),
        (_look(5, 3), _look(9, 4), "ok"),
        (_look(5, 3), _look(9, 3), "failed"),
        (_look(5, 5), _look(9, 5), "failed"),
        (_look(5, 5), _look(5, 5), "warning"),
        (_look(5, 3), _look(5, 4), "warning"),
        (_look(5, 3), _look(5, 3), "failed"),
        (_look(5, 5), _look(None, 5), "warning"),
        (_look(9, 9), _look(3, 9, source="b"), "failed"),
        (_look(9, 9), _look(3, 2, source="b", ours="b"), "ok"),
        (_look(9, 9), _look(3, 3, source="b", ours="b"), "ok"),
    ],
)
def test_judge(before: Look | None, now: Look, status: str) -> None:
    verdict = judge(before, now)
    assert verdict.status == status, verdict.reason


def test_a_look_survives_xcom() -> None:
    seen = _look(5, 3)
    assert Look.from_json(seen.to_json()) == seen
    assert Look.from_json(None) is None


def test_a_look_takes_the_newest_offset_of_its_stream() -> None:
    status = {
        "streams": [
            {"stream": "s", "epoch": "old", "position": 9, "updated_at": "2026-01-01"},
            {"stream": "s", "epoch": "new", "position": 2, "updated_at": "2026-02-01"},
            {"stream": "t", "epoch": "x", "position": 7, "updated_at": "2026-03-01"},
        ]
    }
    seen = look({"epoch": "new", "last_offset": 4}, status, "s")
    assert seen == Look(source_epoch="new", source_head=4, epoch="new", position=2)
    assert look({}, {}, "s") == Look(None, None, None, None)


def test_failed_rules_are_named_and_warnings_are_not() -> None:
    found = rules([("a", "OK", 0, ""), ("b", "WARNING", 2, "old"), ("c", "FAILED", 1, "bad: 1")])
    assert failed_rules(found) == "c (bad: 1)"
    assert failed_rules(found[:2]) is None
