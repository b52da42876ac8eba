"""``validate``: what a preset would make of a captured stream, without landing anything."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sse_stream import _native
from sse_stream.errors import ConfigError
from sse_stream.presets import load_preset

from . import Outcome
from .database import add_database, database
from .words import count, table

__all__ = ["EXAMPLES", "SUMMARY", "configure", "run"]

SUMMARY = "check a preset against a database and a captured stream, without landing anything"
EXAMPLES = """\
  curl -sN -m 30 https://example.org/stream > captured.sse
  python -m sse_stream validate path/to/folder --sample captured.sse
  python -m sse_stream validate path/to/folder --sample captured.sse --conn-id my_postgres

exit codes: 0 nothing would be refused, 1 something would be, or the tables do not fit,
2 the preset is wrong"""
_MOST_BYTES = 256 << 20
_MOST_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("preset", metavar="PRESET", help="a shipped preset or the path of your own")
    parser.add_argument(
        "--sample", metavar="FILE", type=Path, help="a captured event stream, as curl -N saves it"
    )
    parser.add_argument("--all", action="store_true", help="show every event, not only refusals")
    add_database(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Read the preset, its tables and the sample."""
    preset = load_preset(options.preset)
    connect = _names_database(options)
    where = json.loads(database(options)) if connect else {"host": "-", "user": "-", "dbname": "-"}
    config = {
        # Never asked: a run's settings need one.
        "source": {"url": "http://127.0.0.1/"},
        "database": where,
        "preset": preset.toml,
    }
    found = _native.validate(json.dumps(config), _sample(options.sample), connect=connect)
    events = found["events"]
    refused = [each for each in events if each["reason_code"] is not None]
    lines = [
        f"preset {found['stream']}: {count(len(found['routes']), 'route')}, "
        + ("bound to their tables" if connect else "not compared with a database (none is named)"),
        *_route_lines(found["routes"]),
    ]
    if options.sample is not None:
        lines += ["", *_event_lines(events, everything=options.all)]
    return Outcome(found, lines, 1 if refused else 0)


def _names_database(options: argparse.Namespace) -> bool:
    named = options.conn_id or options.database_url or getattr(options, "dsn_file", None)
    there = any(os.environ.get(name) for name in ("DATABASE_URL", "PGHOST", "PGDATABASE"))
    return bool(named or there)


def _sample(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the sample {str(path)!r} cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"the sample {str(path)!r} has more than {_MOST_BYTES >> 20} MiB; cut it")
    return data


def _route_lines(routes: list[dict[str, Any]]) -> list[str]:
    rows = []
    for route in routes:
        for column in route["columns"]:
            needed = "needed" if column["required"] else ""
            kind = column["type"] or ""
            rows.append(
                (
                    f"  {route['event']}",
                    route["table"],
                    column["name"],
                    kind,
                    needed,
                    column["source"],
                )
            )
    return table(rows) if rows else []


def _event_lines(events: list[dict[str, Any]], *, everything: bool) -> list[str]:
    outcomes = Counter(each["outcome"] for each in events)
    kinds = Counter((each["event"], each["outcome"], ", ".join(each["tables"])) for each in events)
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
    lines = [f"{count(len(events), 'event')} in the sample: {told or 'none'}"]
    rows = [
        (f"  {kind}", str(number), outcome, tables)
        for (kind, outcome, tables), number in sorted(kinds.items())
    ]
    lines += table(rows) if rows else []
    shown = [each for each in events if everything or each["reason_code"] or each["drift"]]
    if shown:
        lines.append("")
    lines += [_event_line(each) for each in shown[: None if everything else _MOST_SHOWN]]
    if not everything and len(shown) > _MOST_SHOWN:
        lines.append(f"  and {len(shown) - _MOST_SHOWN} more; --all shows them")
    return lines


def _event_line(event: Mapping[str, Any]) -> str:
    where = f"event {event['id'] or '(without an id)'} ({event['event']})"
    if event["reason_code"]:
        return f"  {where}: {event['outcome']}, {event['reason_code']}: {event['reason']}"
    drift = f", with {', '.join(event['drift'])}" if event["drift"] else ""
    return f"  {where}: {event['outcome']}{drift} {', '.join(event['tables'])}".rstrip()
