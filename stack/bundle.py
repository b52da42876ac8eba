"""`logs` with BUNDLE=1: one archive for whoever helps, without secrets."""

from __future__ import annotations

import io
import os
import platform
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from stack.contract import ROOT, Stack, StackError, finish
from stack.doctor import examine

LINES = 2000
_LOGIN = re.compile(r"(://[^:/@\s]+:)[^@\s]+@")


def collect(stack: Stack) -> int:
    """Write the archive and print its name."""
    now = datetime.now(timezone.utc)
    target = Path(os.environ.get("BUNDLE_DIR") or ROOT) / f"support-{now:%Y%m%dT%H%M%SZ}.tar.gz"
    target.touch(mode=0o600)
    hidden = stack.secrets()
    with tarfile.open(target, "w:gz") as archive:
        for name, text in _parts(stack):
            data = clean(text, hidden).encode(errors="replace")
            entry = tarfile.TarInfo(f"{target.name.removesuffix('.tar.gz')}/{name}.txt")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(data))
    print(f"logs: {target}; secrets are taken out, events in logs are not: look before you send it")
    return 0


def clean(text: str, hidden: Sequence[str]) -> str:
    """Take the secrets, and whatever stands where a URL has its password, out of a text."""
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _LOGIN.sub(r"\1***@", text)


def _parts(stack: Stack) -> Iterator[tuple[str, str]]:
    yield "machine", _try(_machine)
    yield "services", _try(lambda: "\n".join(f"{s.name}: {s.state}" for s in stack.services()))
    yield "configuration", _try(stack.description)
    yield (
        "doctor",
        _try(lambda: "\n".join(line for each in examine(stack) for line in each.lines())),
    )
    yield "stream", _try(lambda: _status(stack))
    try:
        for name, text in stack.log_texts(LINES):
            yield f"log-{name}", text
    except StackError as error:
        yield "logs", str(error)


def _machine() -> str:
    told = [platform.platform(), f"Python {platform.python_version()}", f"{os.cpu_count()} cores"]
    for command in (["git", "log", "-1", "--format=%H %cI"], ["df", "-h"]):
        told.append(finish(command, seconds=30).stdout)
    return "\n".join(told)


def _status(stack: Stack) -> str:
    done = stack.python("-m", "sse_stream", "status")
    return done.stdout + done.stderr


def _try(tell: Callable[[], str]) -> str:
    """Return a part, or why it cannot be had: the archive is for when things are broken."""
    try:
        return tell()
    except (StackError, OSError, ValueError) as error:
        return f"cannot be had: {error}"
