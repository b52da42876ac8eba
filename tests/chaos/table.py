"""The result of a run as a table in Markdown."""

from __future__ import annotations

from collections import Counter
from statistics import median

from chaos.scene import Scene
from chaos.verdict import Verdict

_HEAD = """\
| fault | injected | between COPY and answer to COMMIT | in flight, median | lost | doubled \
| recovery s, median | max |
|---|---:|---:|---:|---:|---:|---:|---:|"""


def markdown(scenes: list[Scene], verdict: Verdict, names: list[str]) -> str:
    """Return one line per kind of fault and one for all.

    A lost or doubled row counts for the fault in whose time its event was on its way.
    """
    lost = _by_kind(scenes, verdict.lost)
    doubled = _by_kind(scenes, verdict.doubled)
    lines = [_HEAD]
    for name in names:
        played = [scene for scene in scenes if scene.entry.kind.name == name]
        lines.append(_line(name, played, lost[name], doubled[name]))
    if lost[""] or doubled[""]:
        lines.append(f"| (between faults) | | | | {lost['']} | {doubled['']} | | |")
    lines.append(_line("**all**", scenes, lost.total(), doubled.total()))
    return "\n".join(lines)


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
