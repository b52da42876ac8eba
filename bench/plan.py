"""How much is measured: the full bench, the quick one, or single sections."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".bench"


class BenchError(Exception):
    """The bench cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """Numbers of one run; `only` names the sections, empty for all that belong to a full run."""

    quick: bool = False
    rounds: int = 7
    events: int = 100_000
    # For peers below 10,000 events/s, which would take most of the time.
    slow_events: int = 20_000
    only: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Plan:
        """Return the plan that the environment asks for: BENCH_QUICK, ONLY and BENCH_ROUNDS."""
        quick = environment.get("BENCH_QUICK", "") not in ("", "0")
        only = tuple(name for name in environment.get("ONLY", "").replace(",", " ").split() if name)
        plan = cls(quick=True, rounds=3, events=30_000, only=only) if quick else cls(only=only)
        rounds = environment.get("BENCH_ROUNDS", "")
        if not rounds:
            return plan
        if not rounds.isdecimal() or int(rounds) < 1:
            raise BenchError(f"BENCH_ROUNDS is {rounds!r}: give a whole number, at least 1")
        return cls(**{**vars(plan), "rounds": int(rounds)})


def program(name: str) -> Path:
    """Return one of our release binaries; raise BenchError if it is not built."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    path = target / "release" / name
    if not path.exists():
        raise BenchError(f"{name} is not built: run make bench, which builds it")
    return path
