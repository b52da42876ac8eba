"""How the events of a feed are told apart, and whether it can send them again."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sse_stream.errors import SourceError

from .columns import parsed
from .sample import Event, Sample

__all__ = [
    "Identity",
    "event_type",
    "find_control",
    "find_identity",
    "find_type_place",
    "heartbeat_seconds",
    "try_resume",
]

_SIGNS_OF_LIFE = {"ping", "heartbeat", "keepalive", "keep-alive", "keep_alive", "thump"}
_ID_NAMES = ("id", "event_id", "eventId", "uuid", "message_id", "messageId")
_TYPE_NAMES = ("type", "event_type", "eventType", "event", "kind", "action", "op", "topic")
# Members that are about the event, and not about what happened.
_ENVELOPES = ("meta", "metadata", "header", "headers", "envelope", "event", "context")
_MOST_TYPES = 30
_INTEGER = re.compile(r"^\d{1,18}$")
_ENOUGH_FOR_DENSE = 3
_MOSTLY_OBJECTS = 0.8
_MOST_SAID = 3
# What is said in place of data is a word, such as [DONE]; longer it is data that broke off.
_LONGEST_SAID = 40


@dataclass(frozen=True)
class Identity:
    """``place`` is ``sse`` or a JSON pointer; ``kind`` is ``integer``, ``text`` or ``none``."""

    kind: str
    place: str = "sse"
    dense: bool = False
    example: str | None = None

    @property
    def words(self) -> str:
        """The same for people."""
        if self.kind == "none":
            return "none: events cannot be told apart or asked for again"
        where = "in the id: field" if self.place == "sse" else f"in the data, at {self.place}"
        holes = ""
        if self.kind == "integer":
            holes = ", dense (no holes seen)" if self.dense else ", sparse (with holes)"
        return f"{self.kind}{holes}, {where}, such as {self.example!r}"


def find_identity(events: Sequence[Event]) -> Identity:
    """Tell where ids stand and what they are."""
    own = [event.id for event in events if event.id is not None]
    # A few events without an id, such as greetings, are no other style.
    if own and len(own) * 2 >= len(events):
        return _style(own, "sse")
    for place in _places(_ID_NAMES):
        found = [_member(event.data, place) for event in events]
        texts = [str(value) for value in found if _is_id(value)]
        if len(texts) >= 2 and len(texts) == len(events) and len(set(texts)) == len(texts):
            return _style(texts, place)
    return Identity("none")


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""


def _places(names: Sequence[str]) -> list[str]:
    inside = [f"/{envelope}/{name}" for envelope in _ENVELOPES for name in names]
    return [*(f"/{name}" for name in names), *inside]


def _member(data: str, place: str) -> Any:
    value = parsed(data)
    for name in place[1:].split("/"):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _style(texts: list[str], place: str) -> Identity:
    example = texts[-1] if len(texts[-1]) <= 60 else texts[-1][:57] + "..."
    if all(_INTEGER.match(text) for text in texts):
        numbers = [int(text) for text in texts]
        steps = [after - before for before, after in pairwise(numbers)]
        if all(step > 0 for step in steps):
            dense = len(steps) >= _ENOUGH_FOR_DENSE and set(steps) == {1}
            return Identity("integer", place, dense, example)
    return Identity("text", place, False, example)


def find_type_place(events: Sequence[Event]) -> str:
    """Tell where the type stands: ``sse``, or the pointer to a member that all events have."""
    if not events or {event.type for event in events} != {"message"}:
        return "sse"
    for place in _places(_TYPE_NAMES):
        values = [_member(event.data, place) for event in events]
        kinds = {value for value in values if isinstance(value, str) and value}
        named = all(isinstance(value, str) and value for value in values)
        if named and len(kinds) <= min(_MOST_TYPES, max(1, len(events) // 2)):
            return place
    return "sse"


def event_type(event: Event, place: str) -> str:
    """Return the type of an event, which stands at ``place``."""
    return event.type if place == "sse" else str(_member(event.data, place))


def find_control(events: Sequence[Event]) -> tuple[list[str], list[str]]:
    """Return types that are signs of life, and texts that are said in place of data."""
    types = sorted({event.type for event in events if event.type.lower() in _SIGNS_OF_LIFE})
    objects = sum(isinstance(parsed(event.data), dict) for event in events)
    texts = {event.data.strip() for event in events if parsed(event.data) is None} - {"", "null"}
    said = {text for text in texts if len(text) <= _LONGEST_SAID and not text.startswith("{")}
    is_said = objects >= _MOSTLY_OBJECTS * len(events) and len(said) <= _MOST_SAID
    return types, sorted(said) if is_said else []


def heartbeat_seconds(sample: Sample) -> float | None:
    """Return the usual time between signs of life that are no data; None if there were none."""
    signs = [*sample.comments_at]
    signs += [event.at for event in sample.events if event.type.lower() in _SIGNS_OF_LIFE]
    signs.sort()
    gaps = [after - before for before, after in pairwise(signs)]
    gaps = [gap for gap in gaps if gap > 0.01]
    return round(statistics.median(gaps), 1) if gaps else None


def try_resume(
    sample: Sample, identity: Identity, ask: Callable[[str], Sample]
) -> tuple[str | None, str]:
    """Ask once for what follows an early id: the resume class (None: not known) and why.

    ``ask`` takes a new sample behind an id, or raises a SourceError.
    """
    ids = [event.id for event in sample.events if event.id is not None]
    if identity.kind == "none":
        return "none", "there are no ids"
    if identity.place != "sse":
        return None, "the id stands in the data; name the query parameter that resumes, if any"
    if len(ids) < 3:
        return None, "too few events with an id to try it"
    # Not behind the first: a source that does not look at the id begins there, too.
    before, asked, follows = ids[:3]
    try:
        again = ask(asked)
    except SourceError as error:
        # Somebody who remembers no further than this.
        gone = str(error).endswith("answers 410")
        return "window" if gone else None, f"asked behind {asked!r}, it refused: {error}"
    first = next((event.id for event in again.events if event.id is not None), None)
    if first is None:
        return None, "asked again behind an early id, it sent nothing in time"
    if first == follows:
        return "replayable", f"asked behind {asked!r}, it went on with the next one"
    if first == asked:
        return "replayable", f"asked behind {asked!r}, it began with that one again"
    if first == before:
        return None, f"asked behind {asked!r}, it began as if nothing had been asked"
    known = Counter(ids)
    if first in known:
        return "window", f"asked behind {asked!r}, it began at {first!r}, later than the next one"
    return "none", f"asked behind {asked!r}, it sent new events only"
