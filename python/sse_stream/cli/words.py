"""Numbers, ages and tables as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["age", "count", "gap_words", "label", "safe", "table"]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def age(seconds: float | None, unknown: str = "unknown") -> str:
    """Return how long ago something was, roughly: ``3 min ago``; ``unknown`` for None."""
    if seconds is None:
        return unknown
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


def count(number: int, noun: str) -> str:
    """Return ``1 event``, ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def gap_words(gap: Mapping[str, Any], *, counted: bool) -> str:
    """Return which offsets a gap is; where they are only counted, it is one for any number."""
    span = f"{gap['first_missed']} to {gap['last_missed']}"
    if counted:
        span = f"an unknown number before {gap['last_missed'] + 1}"
    epoch = f" in epoch {gap['epoch']}" if gap["epoch"] else ""
    return f"{span}{epoch}, by {gap['noticed_by']}"


def label(run: Mapping[str, Any]) -> str:
    """Return the task of a run: ``dag.task``, with the index of a mapped one."""
    name = ".".join(part for part in (run["dag_id"], run["task_id"]) if part)
    mapped = f"[{run['map_index']}]" if run.get("map_index", -1) >= 0 else ""
    return f"{name}{mapped}" or "-"


def safe(text: str) -> str:
    """Return the text with everything escaped that a terminal would obey instead of show."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines with aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
