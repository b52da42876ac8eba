"""The result of runs as a table in Markdown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from chaos.scene import Scene
from chaos.verdict import Verdict

_HEAD = """\
| fault | injected | between COPY and answer to COMMIT | in flight, median | lost | doubled \
| recovery s, median | max |
|---|---:|---:|---:|---:|---:|---:|---:|"""


@dataclass
class Result:
    """What was played in one run or several, and rows lost and doubled by kind of fault."""

    names: list[str] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    doubled: Counter[str] = field(default_factory=Counter)
    offences: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, names: list[str], scenes: list[Scene], verdict: Verdict) -> Result:
        """Count a lost or doubled row for the fault in whose time its event was on its way."""
        lost, doubled = _by_kind(scenes, verdict.lost), _by_kind(scenes, verdict.doubled)
        return cls(names, scenes, lost, doubled)

    def add(self, other: Result) -> None:
        """Take in another run."""
        self.names += [name for name in other.names if name not in self.names]
        self.scenes += other.scenes
        self.lost += other.lost
        self.doubled += other.doubled
        self.offences += other.offences

    def markdown(self) -> str:
        """Return one line for each kind of fault and one for all."""
        lines = [_HEAD, *(self._line(name) for name in self.names)]
        if self.lost[""] or self.doubled[""]:
            lines.append(f"| (between faults) | | | | {self.lost['']} | {self.doubled['']} | | |")
        lines.append(_line("**all**", self.scenes, self.lost.total(), self.doubled.total()))
        return "\n".join(lines)

    def _line(self, name: str) -> str:
        scenes = [scene for scene in self.scenes if scene.entry.kind.name == name]
        return _line(name, scenes, self.lost[name], self.doubled[name])


def _line(name: str, scenes: list[Scene], lost: int, doubled: int) -> str:
    times = [s.recovery_seconds for s in scenes if s.recovery_seconds is not None]
    in_flight = f"{median(s.in_flight for s in scenes):,.0f}" if scenes else "-"
    took = f"{median(times):.1f} | {max(times):.1f}" if times else "- | -"
    inside = sum(scene.inside for scene in scenes)
    return f"| {name} | {len(scenes)} | {inside} | {in_flight} | {lost} | {doubled} | {took} |"


def _by_kind(scenes: list[Scene], rows: list[tuple[str, int]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for _, offset in rows:
        on_its_way = (s.entry.kind.name for s in scenes if s.position < offset <= s.reached)
        counts[next(on_its_way, "")] += 1
    return counts
