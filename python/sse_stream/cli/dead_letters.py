"""``dead-letters``: see the events that did not land, try them again, or give them up."""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from sse_stream import _native
from sse_stream.errors import ConfigError, SSEStreamError
from sse_stream.presets import load_preset
from sse_stream.shards import Shard

from . import Outcome
from .database import add_database, database
from .surroundings import add_shard, person
from .words import count, safe, table

__all__ = ["EXAMPLES", "SUMMARY", "configure", "run"]

SUMMARY = "list, show, replay or discard events that did not land"
EXAMPLES = """\
  python -m sse_stream dead-letters list --since 2d
  python -m sse_stream dead-letters show 17
  python -m sse_stream dead-letters replay --reason missing_parent
  python -m sse_stream dead-letters replay 17 18 --preset path/to/feed
  python -m sse_stream dead-letters discard 17 --yes

Nothing is deleted: a letter that lands is marked replayed, one that is given up discarded. The
stream may go on during a replay. Exit code 1 if letters stay dead.
"""
_STATES = ("open", "replayed", "discarded")
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}
_AGE = re.compile(r"^(\d{1,6})(s|min|h|d)$")
_SHOWN_BYTES = 16_384
_ALL = 2**53


def configure(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Add the actions; returns their parsers."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    made = []
    for name, action, summary in (
        ("list", _list, "show letters by reason, then the newest ones"),
        ("show", _show, "show all of one letter, its bytes included"),
        ("replay", _replay, "try letters again"),
        ("discard", _discard, "give open letters up, without deleting them"),
    ):
        sub = actions.add_parser(name, help=summary, description=summary)
        sub.set_defaults(action=action)
        made.append(sub)
    listing, showing, replaying, discarding = made
    for sub in (listing, replaying):
        for option, text in (("--reason", "reason code"), ("--type", "event type")):
            sub.add_argument(
                option, action="append", default=[], metavar="NAME", help=f"{text}; may be repeated"
            )
        sub.add_argument(
            "--since", metavar="AGE|TIME", help="first seen since then: 30min, 2h, 3d or ISO time"
        )
    listing.add_argument(
        "--state", choices=(*_STATES, "all"), default="open", help="which letters (open)"
    )
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="newest letters (20)")
    showing.add_argument("id", type=int, metavar="ID")
    showing.add_argument("--raw", action="store_true", help="write its bytes and nothing else")
    replaying.add_argument("id", type=int, nargs="*", metavar="ID")
    replaying.add_argument("--all", action="store_true", help="all open letters of the stream")
    replaying.add_argument("--limit", type=int, default=_ALL, metavar="N", help="at most so many")
    replaying.add_argument("--force", action="store_true", help="also discarded letters")
    discarding.add_argument("id", type=int, nargs="+", metavar="ID")
    discarding.add_argument("--yes", action="store_true", help="do not ask")
    for sub in (listing, replaying, discarding):
        sub.add_argument("--stream", metavar="NAME", help="by default the preset's")
        sub.add_argument(
            "--preset", metavar="NAME|PATH", default="restaurant", help="the feed (restaurant)"
        )
        add_shard(sub)
    for sub in made:
        add_database(sub)
    return made


def run(options: argparse.Namespace) -> Outcome:
    """Run the action."""
    outcome: Outcome = options.action(options)
    return outcome


def _list(options: argparse.Namespace) -> Outcome:
    states = [] if options.state == "all" else [options.state]
    found = _native.list_dead_letters(
        database(options), _stream(options), json.dumps(_selection(options, states))
    )
    what = "" if options.state == "all" else f"{options.state} "
    if not found["groups"]:
        return Outcome(found, [f"stream {_words(options)} has no {what}dead letters"])
    groups = [["count", "reason", "state", "first", "last", "types", "example"]]
    for each in found["groups"]:
        types = ", ".join(sorted(str(name) for name in each["types"] if name is not None))
        first, last = each["first"][:19], each["last"][:19]
        names = (each["reason_code"], each["state"])
        groups.append([str(each["count"]), *names, first, last, types, str(each["example"])])
    letters = [["id", "offset", "type", "state", "attempts", "first seen", "reason"]]
    for each in found["letters"]:
        shown = [each[name] for name in ("id", "offset", "type", "state", "attempts")]
        plain = ["-" if value is None else safe(str(value)) for value in shown]
        reason = f"{each['reason_code']}: {each['reason']}"
        letters.append([*plain, each["created_at"][:19], reason])
    return Outcome(found, [*table(groups), "", *table(letters)])


def _show(options: argparse.Namespace) -> Outcome:
    letter = _native.show_dead_letter(database(options), options.id)
    if letter is None:
        raise SSEStreamError(
            f"there is no dead letter {options.id}; `dead-letters list` shows them"
        )
    raw = base64.b64decode(letter["raw"])
    if options.raw:
        return Outcome(letter, raw=raw)
    lines = [
        f"{name:<16}{'-' if value is None else value}"
        for name, value in letter.items()
        if name != "raw"
    ]
    cut = f", the first {_SHOWN_BYTES}; --raw writes all" if len(raw) > _SHOWN_BYTES else ""
    lines.append(f"raw             {count(len(raw), 'byte')}{cut}")
    text = raw[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
    return Outcome(letter, [*lines, *text.split("\n")])


def _replay(options: argparse.Namespace) -> Outcome:
    chosen = options.id or options.reason or options.type or options.since
    if bool(chosen) == options.all:
        raise ConfigError(
            "name letters by ID, --reason, --type or --since, or all of them by --all"
        )
    preset = load_preset(options.preset)
    states = ["open", "discarded"] if options.force else ["open"]
    config = {
        "preset": preset.toml,
        "stream": _stream(options),
        "selection": _selection(options, states),
        "run": {"task_id": "replay", "map_index": -1, "run_id": person(), "owner": person()},
    }
    done = _native.replay_dead_letters(database(options), json.dumps(config))
    missing = max(len(set(options.id)) - done["letters"], 0)
    return Outcome(done, _replayed_lines(done, missing), 1 if done["unsettled"] or missing else 0)


def _replayed_lines(done: Mapping[str, Any], missing: int) -> list[str]:
    lines = [f"{count(done['letters'], 'dead letter')} tried"]
    for name, words in (
        ("landed", "landed"),
        ("duplicates", "had landed before"),
        ("waiting", "wait for their parent now"),
        ("resumed", "events that had waited for them landed"),
        ("left", "are dead again"),
    ):
        if done[name]:
            lines.append(f"  {done[name]} {words}")
    lines += [f"    {reason}" for reason in done["reasons"]]
    lines += [f"  {number} left alone: {why}" for why, number in done["skipped"].items()]
    if missing:
        lines.append(f"  {missing} not found among the open letters of this stream")
    return lines


def _discard(options: argparse.Namespace) -> Outcome:
    ids = sorted(set(options.id))
    where, stream = database(options), _stream(options)
    if not options.yes:
        what = count(len(ids), "dead letter")
        sys.stderr.write(f"give {what} of stream {stream!r} up for good? type yes: ")
        sys.stderr.flush()
        if sys.stdin.readline().strip() != "yes":
            raise SSEStreamError("not confirmed; nothing was discarded")
    gone = _native.discard_dead_letters(where, stream, ids, by=person())
    left = sorted(set(ids) - set(gone))
    lines = [f"{count(len(gone), 'dead letter')} discarded"]
    if left:
        lines.append(f"not open in stream {stream}: {', '.join(map(str, left))}")
    return Outcome({"discarded": sorted(gone), "not_open": left}, lines, 1 if left else 0)


def _name(options: argparse.Namespace) -> str:
    return options.stream or load_preset(options.preset).name


def _stream(options: argparse.Namespace) -> str:
    return Shard.parse(options.shard).stream(_name(options))


def _words(options: argparse.Namespace) -> str:
    return Shard.parse(options.shard).words(_name(options))


def _selection(options: argparse.Namespace, states: list[str]) -> dict[str, Any]:
    if not 0 < options.limit <= _ALL:
        raise ConfigError("--limit is not a positive number")
    return {
        "shard": Shard.parse(options.shard).index,
        "ids": getattr(options, "id", []),
        "reasons": options.reason,
        "event_types": options.type,
        "states": states,
        "since": _time(options.since) if options.since else None,
        "limit": options.limit,
    }


def _time(text: str) -> str:
    if found := _AGE.match(text):
        age = timedelta(**{_UNITS[found.group(2)]: int(found.group(1))})
        return (datetime.now(timezone.utc) - age).isoformat()
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ConfigError(
            f"--since {text!r} is no age and no time; write 30min, 2h, 3d or 2026-01-31T12:00:00"
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).isoformat()
