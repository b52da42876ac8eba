"""`backup` and `restore`: the business database as one file, offsets included."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from stack.contract import (
    BUSINESS,
    ROOT,
    STREAM,
    VARIABLE,
    Stack,
    StackError,
    is_confirmed,
    require,
)


def folder() -> Path:
    """Return where backups go: BACKUP_DIR, else backups/ of the checkout."""
    return Path(os.environ.get("BACKUP_DIR") or ROOT / "backups").resolve()


def backup(stack: Stack) -> int:
    """Write one consistent file while the stream goes on; print its name."""
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    now = datetime.now(timezone.utc)
    target = folder() / f"{BUSINESS}-{now:%Y%m%dT%H%M%SZ}.dump"
    partial = target.with_suffix(".partial")
    partial.touch(mode=0o600)
    with partial.open("wb") as output:
        stack.database_tool("pg_dump", "--format=custom", f"--dbname={BUSINESS}", target=output)
    # A file that cannot be listed is not one that can be restored.
    with partial.open("rb") as written:
        listed = stack.database_tool("pg_restore", "--list", source=written)
    if "TABLE DATA sse_stream offsets" not in listed:
        raise StackError(f"{partial} holds no offsets: was the database ever migrated?")
    partial.replace(target)
    print(f"backup: {target} ({target.stat().st_size / 1e6:.1f} MB)")
    return 0


def restore(stack: Stack, file: Path | None) -> int:
    """Put a backup in the place of the business database and go on from its offset."""
    source = file or _newest()
    if not source.is_file():
        raise StackError(f"{source} is no file: give one with FILE=...")
    # Before anything is stopped, where the database can be asked; else as soon as it can.
    is_asked = _ask(stack) if stack.is_running() else False
    with stack.quiet():
        if not is_asked and not _ask(stack):
            raise StackError("the database does not say what it holds; nothing was changed")
        with source.open("rb") as dump:
            stack.database_tool("bash", "docker/postgres/restore.sh", source=dump)
        place = stack.sql("counts.sql", stream=STREAM)
        # Another value would be a person's wish for a rewind.
        setting = ("variables", "set", VARIABLE, place["mirrored"])
        require(stack.python("-m", "airflow", *setting), "airflow variables set")
    print(f"restore: {place['raw']} raw events, going on after offset {place['offset']}")
    return 0


def _ask(stack: Stack) -> bool:
    """Have it confirmed that stored events are replaced; say whether that is settled.

    Raise StackError where the answer is no.
    """
    try:
        counts = stack.sql("counts.sql", stream=STREAM)
    except StackError:
        return False
    question = f"{counts['raw']} raw events up to offset {counts['offset']} will be replaced."
    if counts["raw"] != "0" and not is_confirmed(question):
        raise StackError("not confirmed; nothing was changed")
    return True


def _newest() -> Path:
    found = sorted(folder().glob("*.dump"))
    if not found:
        raise StackError(f"there is no backup in {folder()}: give one with FILE=...")
    return found[-1]
