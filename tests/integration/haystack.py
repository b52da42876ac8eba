"""Collects all that is said anywhere, and looks for secrets in every dress."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Iterator
from urllib.parse import quote, quote_plus


def dresses(secret: str) -> set[str]:
    """The forms in which a secret may turn up: as it is, escaped, percent-encoded, base64."""
    raw = secret.encode()
    found = {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        secret.encode("unicode_escape").decode(),
        repr(raw)[2:-1],
        raw.hex(),
        ", ".join(map(str, raw)),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
    }
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        # Inside of a longer text, as in user:password, it may begin at any of three places;
        # only the middle is then the same.
        for shift in range(3):
            text = encode(b"x" * shift + raw).decode().rstrip("=")
            found.add(text[(shift * 8 + 5) // 6 : -1 - len(raw) % 2])
    return found | {text.lower() for text in found} | {text.upper() for text in found}


class Haystack(logging.Handler):
    """Every log record, whatever is added, and exceptions with all that hangs on them."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a log record, also what it would have said."""
        self.add(self.format(record), repr(record.msg), repr(record.args))

    def add(self, *texts: object) -> None:
        """Keep texts."""
        self.texts.extend(map(str, texts))

    def add_exception(self, error: BaseException) -> None:
        """Keep an exception, its causes and contexts, and what each of them holds."""
        self.add("".join(traceback.format_exception(error)))
        for each in _chain(error):
            attributes = [getattr(each, name, None) for name in ("__dict__", "__notes__")]
            self.add(str(each), repr(each), repr(each.args), *map(repr, attributes))

    def __contains__(self, text: str) -> bool:
        return any(text in each for each in self.texts)

    def secrets(self, secrets: dict[str, str]) -> list[str]:
        """Which secrets were said, and where; each is shown as its name."""
        found = []
        for name, secret in secrets.items():
            forms = {form for form in dresses(secret) if len(form) >= 8}
            for text in self.texts:
                for form in forms:
                    if form in text:
                        at = text.index(form)
                        found.append(f"{name}: ...{text[max(0, at - 200) : at]}<<{form}>>")
        return found


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]
