"""Where a run begins and ends, as the engine is told."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sse_stream import ConfigError
from sse_stream.bounds import interval_settings, until_settings

NOON = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "settings"),
    [
        (None, {}),
        ("None", {}),
        (0, {"until_offset": 0}),
        (" 42 ", {"until_offset": 42}),
        (NOON, {"until_time": "2026-11-20T12:00:00Z"}),
        ("2026-11-20T12:00:00Z", {"until_time": "2026-11-20T12:00:00Z"}),
        ("2026-11-20T13:00:00.5+01:00", {"until_time": "2026-11-20T12:00:00.500000Z"}),
    ],
)
def test_until_is_an_offset_or_a_moment(value: Any, settings: dict[str, Any]) -> None:
    assert until_settings(value) == settings


@pytest.mark.parametrize(
    "value", ["soon", "2026-11-20T12:00:00", NOON.replace(tzinfo=None), True, -1, 1.5, 2**63]
)
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="neither an offset nor a time"):
        until_settings(value)


def test_an_interval_is_a_stream_of_its_own() -> None:
    context = {"data_interval_start": NOON, "data_interval_end": NOON + timedelta(hours=1)}
    assert interval_settings(context, "s") == {
        "stream": "s@2026-11-20T12:00:00Z/2026-11-20T13:00:00Z",
        "window_from": "2026-11-20T12:00:00Z",
        "until_time": "2026-11-20T13:00:00Z",
        "max_events": None,
    }


@pytest.mark.parametrize(
    "context",
    [
        None,
        {},
        {"data_interval_start": NOON, "data_interval_end": None},
        {"data_interval_start": NOON, "data_interval_end": NOON},
    ],
)
def test_a_run_without_an_interval_is_refused(context: Any) -> None:
    with pytest.raises(ConfigError, match="does not have"):
        interval_settings(context, "s")
