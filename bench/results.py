"""What a section gives back, and the table and JSON made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Sample, Spread, ratio, spread


@dataclass
class Section:
    """Samples of contestants by round, or single figures; `reference` is what ratios are to."""

    title: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    reference: str | None = None
    # Name -> value and unit, for what is no throughput.
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def ratio(self, one: str, other: str) -> Spread | None:
        """Compare two contestants round by round; None unless both took part."""
        if self.samples.get(one) and self.samples.get(other):
            return ratio(self.samples[one], self.samples[other])
        return None

    def median(self, name: str, figure: str) -> float | None:
        """Return the median of a property of Sample; None if the contestant took no part."""
        if not self.samples.get(name):
            return None
        return spread([getattr(sample, figure) for sample in self.samples[name]]).median

    def plain(self) -> dict[str, Any]:
        """Return what goes into the JSON."""
        return {
            "title": self.title,
            "reference": self.reference,
            "contestants": {
                name: self._row(name) | {"rounds": [sample.plain() for sample in samples]}
                for name, samples in self.samples.items()
            },
            "figures": {
                name: {"value": value, "unit": unit} for name, (value, unit) in self.figures.items()
            },
            "notes": self.notes,
        }

    def lines(self) -> list[str]:
        """Return the section as text for a terminal."""
        text = [self.title, "=" * len(self.title)]
        if self.samples:
            text += table([_HEAD, *(self._cells(name) for name in self.samples)])
        if self.figures:
            rows = [(name, _number(value), unit) for name, (value, unit) in self.figures.items()]
            text += table(rows)
        return [*text, *(f"  {note}" for note in self.notes), ""]

    def _row(self, name: str) -> dict[str, Any]:
        samples = self.samples[name]
        rates = spread([sample.rate for sample in samples])
        compared = self.ratio(name, self.reference) if self.reference else None
        return {
            "events": samples[0].events,
            "events_per_second": vars(rates),
            "ratio": vars(compared) if compared else None,
            "client_us": self.median(name, "client_us"),
            "server_us": self.median(name, "server_us"),
            "rss_mib": self.median(name, "rss_mib"),
        }

    def _cells(self, name: str) -> tuple[str, ...]:
        row = self._row(name)
        rate, compared = row["events_per_second"], row["ratio"]
        return (
            name,
            f"{row['events']:,}",
            f"{rate['median']:,.0f} ({rate['low']:,.0f}-{rate['high']:,.0f})",
            str(Spread(**compared)) if compared else "",
            f"{row['client_us']:.1f}",
            f"{row['server_us']:.1f}",
            f"{row['rss_mib']:.0f}",
        )


_HEAD = ("", "events", "events/s (spread)", "ratio (spread)", "client us", "server us", "RSS MiB")


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def document(
    sections: Mapping[str, Section], targets: Sequence[Mapping[str, Any]], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the JSON of a run."""
    return {
        **about,
        "targets": list(targets),
        "sections": {name: section.plain() for name, section in sections.items()},
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
