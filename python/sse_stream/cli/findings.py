"""What each finding of the doctor means and which command repairs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .surroundings import Source
from .words import age, count, gap_words, label

__all__ = ["Finding", "Place", "source_findings", "word"]


@dataclass(frozen=True)
class Finding:
    """A disagreement: a stable code, what was seen, what it means, and what repairs it."""

    code: str
    seen: str
    means: str
    repair: str


@dataclass(frozen=True)
class Place:
    """What the commands of a repair are about.

    ``database`` and ``shard`` are options, with a space before; ``preset`` is None for a stream
    without one.
    """

    stream: str
    preset: str | None
    variable: str
    database: str
    role: str
    source_url: str | None
    position: int
    shard: str = ""

    def command(self, command: str) -> str:
        """Return a command of this package for the same database."""
        return f"python -m sse_stream {command}{self.database}"

    def migrate(self) -> str:
        """Return the command that applies what is missing."""
        return self.command(f"migrate --preset {self.preset}" if self.preset else "migrate")

    def reset(self, to: object) -> str:
        """Return the command that moves the offset."""
        source = f" --source-url {self.source_url}" if to == "head" and self.source_url else ""
        return self.command(f"reset --stream {self.stream}{self.shard} --to {to}{source}")

    def set_variable(self, value: object) -> str:
        """Return the command that sets the Variable."""
        return f"airflow variables set {self.variable} {value}"


def source_findings(row: Mapping[str, Any] | None, source: Source) -> list[dict[str, Any]]:
    """Compare the stream's row with what the source told; nothing where one is not known."""
    if source.url and not source.reached and source.unknown:
        return [{"code": "source_unreachable", "problem": source.unknown}]
    if row is None or source.head is None:
        return []
    if row["epoch"] is not None and source.epoch is not None and row["epoch"] != source.epoch:
        return [{"code": "epoch_differs", "source": source.epoch, "epoch": row["epoch"]}]
    if row["position"] > source.head:
        return [{"code": "position_beyond_head", "head": source.head}]
    if source.oldest is not None and row["position"] + 1 < source.oldest:
        first, last = row["position"] + 1, source.oldest - 1
        return [{"code": "position_not_retained", "first": first, "last": last}]
    return []


def word(found: Mapping[str, Any], place: Place) -> Finding:
    """Return a finding of the engine or of :func:`source_findings` in words."""
    seen, means, repair = _WORDS[found["code"]](found, place)
    return Finding(found["code"], seen, means, repair)


_Words = tuple[str, str, str]
_Found = Mapping[str, Any]


def _not_migrated(found: _Found, place: Place) -> _Words:
    return (
        "the database has no schema sse_stream",
        "it was never migrated, or another database is meant",
        f"as the owner of the schemas: {place.migrate()}",
    )


def _migration_pending(found: _Found, place: Place) -> _Words:
    return (
        f"migrations of {found['owner']} are missing: {', '.join(found['versions'])}",
        "the database is behind the installed package; runs may fail with SchemaError",
        f"as the owner of the schemas: {place.migrate()}",
    )


def _migration_changed(found: _Found, place: Place) -> _Words:
    return (
        f"migrations of {found['owner']} differ from what was applied: "
        f"{', '.join(found['versions'])}",
        "their text was changed afterwards, so the database is not what the files say",
        "restore the files, put the change into a new migration, then: " + place.migrate(),
    )


def _migration_unknown(found: _Found, place: Place) -> _Words:
    return (
        f"the database has migrations of {found['owner']} that are not known here: "
        f"{', '.join(found['versions'])}",
        "a newer version migrated it; this one may write what the tables no longer take",
        "install the newer version (or the preset with these migrations)",
    )


def _right_missing(found: _Found, place: Place) -> _Words:
    return (
        f"login {place.role} has no {found['right']} right on {found['object']}",
        "a run with this login fails with SchemaError before it reads anything",
        f'as the owner, in psql: grant {found["right"]} on {found["object"]} to "{place.role}"',
    )


def _table_unusable(found: _Found, place: Place) -> _Words:
    return (
        found["message"],
        "a run fails with SchemaError before it reads anything",
        f"as the owner of the schemas: {place.migrate()}",
    )


def _offset_missing(found: _Found, place: Place) -> _Words:
    return (
        f"stream {place.stream!r} has no offset",
        "it has never run, its name is another one, or its row was removed; the first run starts "
        "at the Variable, without one at 0, and knows by key what has landed already",
        f"run its task; to choose where it starts: {place.set_variable('OFFSET')}",
    )


def _rewind_pending(found: _Found, place: Place) -> _Words:
    return (
        f"Variable {place.variable} shows {found['to']}, which no run wrote",
        f"a person asks for a rewind: the next run moves from {found['from']} to {found['to']}",
        f"if it is meant, nothing; else: {place.set_variable(found['from'])}",
    )


def _mirror_not_a_number(found: _Found, place: Place) -> _Words:
    return (
        f"Variable {place.variable} holds {found['mirror']!r}, which is no offset",
        "the next run fails with ConfigError and moves nothing (a first run starts at 0)",
        place.set_variable(place.position),
    )


def _mirror_beyond(found: _Found, place: Place) -> _Words:
    return (
        f"Variable {place.variable} asks for {found['mirror']}, beyond the last committed "
        f"offset {found['high_water']}",
        "the next run fails with ConfigError and moves nothing",
        f"{place.set_variable(place.position)}; to skip events: {place.reset(found['mirror'])}",
    )


def _mirror_counted(found: _Found, place: Place) -> _Words:
    return (
        f"Variable {place.variable} asks for {found['mirror']}, but this stream's offsets are only "
        "counted here: the source cannot be asked for one",
        "the next run fails with ConfigError and moves nothing",
        place.set_variable(place.position),
    )


def _source_unreachable(found: _Found, place: Place) -> _Words:
    return (
        found["problem"],
        "lag, epoch and what the source retains were not compared",
        f"curl -i {place.source_url}",
    )


def _epoch_differs(found: _Found, place: Place) -> _Words:
    return (
        f"the source is in epoch {found['source']}, the stream in {found['epoch']}",
        "the source began a new history, or another source is named: the next run begins the new "
        "epoch at 0; what the old one had beyond our offset is gone",
        "if the source lost its history, nothing; else name the right one in the DAG",
    )


def _position_beyond_head(found: _Found, place: Place) -> _Words:
    return (
        f"the offset stands at {place.position}, the source's newest is {found['head']}",
        "the source lost its newest events without a new epoch, or another source is named: what "
        f"it writes up to {place.position} would not be asked for",
        place.reset(found["head"]),
    )


def _position_not_retained(found: _Found, place: Place) -> _Words:
    first, last = found["first"], found["last"]
    return (
        f"the source no longer has the offsets {first} to {last}",
        f"{count(last - first + 1, 'event')} will be missed; the next run writes them down as a gap",
        "run the task now, before more is lost; where a backfill_url is set, it fetches them",
    )


def _rows_above_offset(found: _Found, place: Place) -> _Words:
    means = (
        "the offset was set back or restored: those events come again and are recognised by "
        "their keys (replay-safe)"
    )
    repair = "nothing; the next run catches up"
    if found["unprotected"]:
        means += (
            f"; but they are above the highest committed offset, so rows of {found['unprotected']}, "
            "which has no key, would come twice"
        )
        repair = place.reset(found["highest"]) + " (with --source-url)"
    return (
        f"{found['table']} holds offset {found['highest']}, the offset stands at "
        f"{found['position']}",
        means,
        repair,
    )


def _rows_below_offset(found: _Found, place: Place) -> _Words:
    highest = found["highest"] or 0
    return (
        f"{found['table']} ends at offset {highest}, the offset stands at {found['position']}, "
        "and no dead letter, gap or waiting event explains the rest",
        "rows were removed, or an older copy of the table stands beside a newer offset (events of "
        "ignored types and ids without an event have no row either)",
        f"if rows are missing: {place.reset(highest)}; present rows are recognised",
    )


def _run_lost(found: _Found, place: Place) -> _Words:
    log = f", log: {found['log_url']}" if found["log_url"] else ""
    return (
        f"run {found['run_id'] or '-'} of {label(found)}, try {found['try_number']}, began "
        f"{found['started_at'][:19]} and has no end, yet nobody holds the stream{log}",
        "its process was killed or cut off; what it had committed stands, the rest comes again",
        "nothing; the next run of the stream closes it as lost",
    )


def _gaps_open(found: _Found, place: Place) -> _Words:
    gap = found["newest"]
    if found["counted"]:
        return (
            f"{count(found['gaps'], 'gap')} open; the newest: {gap_words(gap, counted=True)}",
            "the source did not give these events, and nobody knows how many; rows are missing",
            "where the source has them elsewhere, land them from there; a run now and then keeps "
            "the stream within what the source remembers",
        )
    return (
        f"{count(found['gaps'], 'gap')} open, {count(found['offsets'], 'offset')} missed; the "
        f"newest: {gap_words(gap, counted=False)}",
        "the source did not give these events; rows may be missing for good",
        "where a backfill_url is set, run the task; where the source has them again: "
        + place.reset(max(gap["first_missed"] - 1, 0)),
    )


def _dead_letters_open(found: _Found, place: Place) -> _Words:
    reasons = ", ".join(f"{each['count']} {each['reason_code']}" for each in found["reasons"])
    return (
        f"{count(found['count'], 'dead letter')} open ({reasons})"
        + (f", {found['tolerated']} are tolerated" if found["tolerated"] else ""),
        "these events did not land; their bytes are kept",
        place.command(f"dead-letters list --stream {place.stream}{place.shard}"),
    )


def _waiting_too_long(found: _Found, place: Place) -> _Words:
    return (
        f"{count(found['events'], 'event')} waiting for a parent, the oldest since "
        f"{age(found['seconds'])}",
        "the parents have not come; when they do, the events land by themselves",
        "see whether the parents are dead letters or in a gap: "
        + place.command(f"status --stream {place.stream}"),
    )


def _silent(found: _Found, place: Place) -> _Words:
    return (
        f"the source was last heard {age(found['seconds'])}",
        "no run reads the stream, or none reaches the source",
        f"see that the DAG is not paused, and its last run: "
        f"{place.command(f'status --stream {place.stream}')}",
    )


_WORDS = {
    "not_migrated": _not_migrated,
    "migration_pending": _migration_pending,
    "migration_changed": _migration_changed,
    "migration_unknown": _migration_unknown,
    "right_missing": _right_missing,
    "table_unusable": _table_unusable,
    "offset_missing": _offset_missing,
    "rewind_pending": _rewind_pending,
    "mirror_not_a_number": _mirror_not_a_number,
    "mirror_beyond": _mirror_beyond,
    "mirror_counted": _mirror_counted,
    "source_unreachable": _source_unreachable,
    "epoch_differs": _epoch_differs,
    "position_beyond_head": _position_beyond_head,
    "position_not_retained": _position_not_retained,
    "rows_above_offset": _rows_above_offset,
    "rows_below_offset": _rows_below_offset,
    "run_lost": _run_lost,
    "gaps_open": _gaps_open,
    "dead_letters_open": _dead_letters_open,
    "waiting_too_long": _waiting_too_long,
    "silent": _silent,
}
