"""``doctor``: compare what should agree, name what does not, and say what repairs it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from sse_stream import _native
from sse_stream.presets import load_preset, raw_preset
from sse_stream.shards import Shard

from . import Outcome
from .database import add_database, database, database_flags
from .findings import Finding, Place, source_findings, word
from .surroundings import add_shard, add_source, add_variable, look_at_source, look_at_variable
from .words import count

__all__ = ["EXAMPLES", "FAILED", "SUMMARY", "configure", "run"]

SUMMARY = "compare offset, Variable, tables and source; name what disagrees and what repairs it"
EXAMPLES = """\
  python -m sse_stream doctor --source-url http://127.0.0.1:8000/stream
  python -m sse_stream doctor --preset path/to/feed --max-dead-letters 100 --json

Nothing is changed. Exit code: 0 nothing found, 1 findings, 2 the database cannot be looked at.
"""
# The exit code where looking itself fails.
FAILED = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    feed = parser.add_mutually_exclusive_group()
    feed.add_argument(
        "--preset",
        metavar="NAME|PATH",
        default="restaurant",
        help="the feed: a shipped preset or the folder of your own (restaurant)",
    )
    feed.add_argument(
        "--table", metavar="SCHEMA.TABLE", help="a feed without a preset: its raw table"
    )
    parser.add_argument("--stream", metavar="NAME", help="by default the preset's")
    add_shard(parser)
    group = parser.add_argument_group("tolerated")
    for name, default, text in (
        ("--max-dead-letters", 0, "open dead letters"),
        ("--max-waiting-minutes", 60, "age of events that wait for their parent"),
        ("--max-silence-minutes", 15, "time since the source was last heard"),
    ):
        group.add_argument(
            name, type=_natural, default=default, metavar="N", help=f"{text} ({default})"
        )
    add_source(parser)
    add_variable(parser)
    add_database(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Look, compare, tell."""
    where = database(options)
    preset = load_preset(options.preset) if options.table is None else raw_preset(options.table)
    stream = options.stream or preset.name
    shard = Shard.parse(options.shard)
    variable = look_at_variable(options, stream, shard)
    asked = {
        "preset": preset.toml,
        "migrations": [(each.version, each.name, each.sql) for each in preset.migrations],
        "stream": shard.stream(stream),
        "shard": shard.index,
        "shares_tables": shard.of > 1,
        "mirror": variable.text,
        "max_dead_letters": options.max_dead_letters,
        "max_waiting_seconds": options.max_waiting_minutes * 60,
        "max_silence_seconds": options.max_silence_minutes * 60,
    }
    examined = _native.doctor(where, json.dumps(asked))
    # Asked after the database, so that the source cannot seem to be behind us.
    source = look_at_source(options)
    row = examined["status"]
    place = Place(
        stream=stream,
        shard=f" --shard {options.shard}" if shard.of else "",
        preset=options.preset if options.table is None else None,
        variable=variable.name,
        database=database_flags(options),
        role=examined["role"],
        source_url=source.url,
        position=row["position"] if row else 0,
    )
    found = [*examined["findings"], *source_findings(row, source)]
    worded = [word(each, place) for each in found]
    unknown = (f"Variable: {variable.unknown}", f"source: {source.unknown}")
    not_checked = [
        text
        for text, why in zip(unknown, (variable.unknown, source.unknown), strict=True)
        if why is not None
    ]
    result = {
        "stream": stream,
        "healthy": not worded,
        "role": place.role,
        "not_checked": not_checked,
        "findings": [
            {**details, **asdict(each)} for details, each in zip(found, worded, strict=True)
        ],
    }
    return Outcome(result, _lines(place, shard, worded, not_checked), 1 if worded else 0)


def _lines(
    place: Place, shard: Shard, findings: list[Finding], not_checked: list[str]
) -> list[str]:
    verdict = count(len(findings), "finding") if findings else "nothing disagrees"
    lines = [f"stream {shard.words(place.stream)}: {verdict} (looked at as {place.role})"]
    for each in findings:
        lines += [
            "",
            f"{each.code}: {each.seen}",
            f"  means   {each.means}",
            f"  repair  {each.repair}",
        ]
    if not_checked:
        lines += ["", *(f"not checked: {text}" for text in not_checked)]
    return lines


def _natural(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**53:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return int(text)
