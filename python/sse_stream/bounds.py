"""Where a run begins and ends within its stream: a moment, an offset, the interval of a DAG run."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from .errors import ConfigError

__all__ = ["check_until", "interval_settings", "until_settings"]


def check_until(value: Any) -> str | int | datetime | None:
    """Return ``until`` as it is if it can be meant; templates are checked when they are rendered.

    Raises:
        ConfigError: it is neither an offset nor a moment.
    """
    if not (isinstance(value, str) and "{" in value):
        until_settings(value)
    return value  # type: ignore[no-any-return]


def until_settings(value: Any) -> dict[str, Any]:
    """Return the engine's settings for ``until``: an offset (a whole number) or a moment.

    Raises:
        ConfigError: it is neither.
    """
    if value is None or value == "None":
        return {}
    wrong = ConfigError(
        "until is neither an offset nor a time in ISO 8601 with its offset from UTC, such as "
        "2026-11-20T13:00:00Z"
    )
    if isinstance(value, datetime):
        return {"until_time": _moment(value, wrong)}
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise wrong
    text = str(value).strip()
    if text.isdecimal():
        number = int(text)
        if number >= 2**63:
            raise wrong
        return {"until_offset": number}
    try:
        # Python 3.10 knows no Z.
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        raise wrong from None
    return {"until_time": _moment(moment, wrong)}


def interval_settings(context: Any, stream: str) -> dict[str, Any]:
    """Return the engine's settings for the data interval of a DAG run: a stream of its own.

    Raises:
        ConfigError: the run has no interval, or an empty one.
    """
    start, end = (context.get(name) if context else None for name in _INTERVAL)
    if not isinstance(start, datetime) or not isinstance(end, datetime) or start >= end:
        raise ConfigError(
            "interval_mode needs a data interval, which this DAG run does not have; give the DAG "
            "a schedule with intervals"
        )
    wrong = ConfigError("the data interval has no time zone")
    first, last = _moment(start, wrong), _moment(end, wrong)
    return {
        "stream": f"{stream}@{first}/{last}",
        "window_from": first,
        "until_time": last,
        # An interval is read whole or it has failed.
        "max_events": None,
    }


_INTERVAL = ("data_interval_start", "data_interval_end")


def _moment(value: datetime, wrong: ConfigError) -> str:
    if value.tzinfo is None:
        raise wrong
    return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
