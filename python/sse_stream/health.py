"""What a look at source, offset and rules means: pure judgements, no input or output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Look", "Rule", "Verdict", "failed_rules", "judge", "look", "rules"]


@dataclass(frozen=True)
class Look:
    """Where source and database stood at one moment. None: not known."""

    source_epoch: str | None
    source_head: int | None
    epoch: str | None
    position: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the look as plain data, for XCom."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Look | None:
        """Return the look that :meth:`to_json` wrote, None if there is none."""
        if not data:
            return None
        return cls(**{name: data.get(name) for name in cls.__dataclass_fields__})

    @property
    def caught_up(self) -> bool:
        """Whether everything the source has is committed."""
        return (
            self.source_head is not None
            and self.source_epoch == self.epoch
            and self.position is not None
            and self.position >= self.source_head
        )


@dataclass(frozen=True)
class Verdict:
    """``ok``, ``warning`` or ``failed``, and why."""

    status: str
    reason: str


@dataclass(frozen=True)
class Rule:
    """One row of a data-quality function."""

    name: str
    status: str
    failing: int
    details: str


def look(source: Mapping[str, Any], status: Mapping[str, Any], stream: str) -> Look:
    """Return a look from the source's health answer and the engine's status of ``stream``."""
    ours = [row for row in status.get("streams", []) if row.get("stream") == stream]
    ours.sort(key=lambda row: str(row.get("updated_at") or ""))
    newest = ours[-1] if ours else {}
    head = source.get("last_offset")
    return Look(
        source_epoch=source.get("epoch"),
        source_head=None if head is None else int(head),
        epoch=newest.get("epoch"),
        position=newest.get("position"),
    )


def judge(before: Look | None, now: Look) -> Verdict:
    """Judge ingestion by two looks.

    Failed: the source's head moved since the look before and our position did not, although
    there is something to read. Warning: the source is silent.
    """
    source = (now.source_epoch, now.source_head)
    ours = (now.epoch, now.position)
    if now.source_head is None:
        return Verdict("warning", "the source does not tell its last offset")
    if before is None:
        if now.position is None and now.source_head > 0:
            return Verdict("failed", "the source has events and nothing was ever committed")
        return Verdict("ok", "first look")
    if source == (before.source_epoch, before.source_head):
        if now.caught_up or ours != (before.epoch, before.position):
            return Verdict("warning", f"the source is silent at offset {now.source_head}")
        return Verdict("failed", f"{_lag(now)} and nothing was committed since the last look")
    if ours == (before.epoch, before.position) and not now.caught_up:
        return Verdict(
            "failed",
            f"the source moved from {before.source_head} to {now.source_head}, "
            f"our position stays at {now.position}",
        )
    return Verdict("ok", _lag(now))


def _lag(now: Look) -> str:
    if now.source_epoch != now.epoch or now.position is None or now.source_head is None:
        return "the source began a new epoch"
    return f"{max(now.source_head - now.position, 0)} events behind the source"


def rules(rows: Iterable[Sequence[Any]]) -> list[Rule]:
    """Return rows (check_name, status, failing, details) as rules."""
    return [Rule(str(row[0]), str(row[1]), int(row[2]), str(row[3])) for row in rows]


def failed_rules(found: Iterable[Rule]) -> str | None:
    """Return one line that names the failed rules, None if none failed."""
    failed = [f"{rule.name} ({rule.details})" for rule in found if rule.status == "FAILED"]
    return "; ".join(failed) or None
