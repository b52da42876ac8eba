"""The commands of ``python -m sse_stream``: one module each, ``configure`` and ``run``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a command found: data for ``--json``, lines for people, and the exit code.

    ``raw`` are bytes to be written as they are, instead of either.
    """

    result: Any
    lines: list[str] = field(default_factory=list)
    code: int = 0
    raw: bytes | None = None
