"""The throughput of a run as a bar chart in SVG, readable on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

WIDTH, ROW, TOP, LEFT, RIGHT = 860, 26, 58, 250, 240
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.small { font-size: 11px; fill: #57606a }
.ours { fill: #1a7f37 } .limit { fill: #8c959f } .peer { fill: #54aeff }
.range { stroke: #24292f; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .range { stroke: #e6edf3 }
}
"""


def chart(result: Mapping[str, Any]) -> str:
    """Return the SVG of a run's throughput, best first; an empty picture if it was not measured."""
    contestants = result["sections"].get("throughput", {}).get("contestants", {})
    rows = sorted(contestants.items(), key=lambda item: -item[1]["events_per_second"]["median"])
    longest = max((row["events_per_second"]["high"] for _, row in rows), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / longest
    height = TOP + ROW * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<style>{STYLE}</style>",
        '<text class="title" x="12" y="24">Events per second into PostgreSQL, all tables</text>',
        f'<text class="small" x="12" y="42">{escape(_caption(result))}</text>',
    ]
    for number, (name, row) in enumerate(rows):
        fewer = f", {row['events']:,} events" if row["events"] != result["events"] else ""
        parts += _bar(TOP + ROW * number, name, row, scale, fewer)
    return "\n".join([*parts, "</svg>", ""])


def _bar(y: int, name: str, row: Mapping[str, Any], scale: float, fewer: str) -> list[str]:
    rate = row["events_per_second"]
    kind = "ours" if name.startswith("ours") else "limit" if name.startswith("raw") else "peer"
    low, high = (LEFT + rate[end] * scale for end in ("low", "high"))
    ratio = f"  {row['ratio']['median']:.2f} of raw COPY" if row["ratio"] else ""
    middle = y + ROW / 2 - 3
    return [
        f'<text x="{LEFT - 8}" y="{middle + 5}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{rate["median"] * scale:.1f}"'
        f' height="{ROW - 7}" rx="2"/>',
        f'<line class="range" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>',
        f'<text x="{high + 8:.1f}" y="{middle + 5}">{rate["median"]:,.0f}'
        f'<tspan class="small">{escape(ratio + fewer)}</tspan></text>',
    ]


def _caption(result: Mapping[str, Any]) -> str:
    return (
        f"median and range of {result['rounds']} rounds, {result['events']:,} events, "
        f"{result['machine']}, PostgreSQL {result['postgresql']['server_version'].split()[0]}"
    )
