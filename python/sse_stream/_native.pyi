"""The engine. Settings are JSON text, so that one plain value crosses the language line."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, final, type_check_only

__all__ = [
    "CursorPort",
    "Parser",
    "StopFlag",
    "__version__",
    "discard_dead_letters",
    "doctor",
    "list_dead_letters",
    "look",
    "migrate",
    "propose_tables",
    "prune",
    "raw_table_ddl",
    "replay_dead_letters",
    "reset",
    "run",
    "show_dead_letter",
    "status",
    "validate",
    "watch",
]

@type_check_only
class Host(Protocol):
    """What a run may ask of its surroundings; called on the thread that called :func:`run`."""

    def read_mirror(self) -> str | None: ...
    def write_mirror(self, position: int) -> None: ...
    def process(self, event_type: str, data: str, cursor: CursorPort) -> None: ...

@final
class StopFlag:
    """Asks a run to end at the next committed offset; may be set from any thread."""

    def __new__(cls) -> StopFlag: ...
    def set(self) -> None: ...
    def is_set(self) -> bool: ...

@final
class CursorPort:
    """The transaction of the batch that holds the event being processed."""

    def query(
        self, sql: str, params: list[tuple[str | None, str | None]] | None = None
    ) -> tuple[list[tuple[str, str]], list[tuple[bytes | None, ...]], int]:
        """Run one statement: names and types of columns, rows in binary format, row count."""

@final
class Parser:
    """The event-stream parser alone: bytes in, events out."""

    def __new__(
        cls,
        *,
        max_line_bytes: int | None = None,
        max_event_bytes: int | None = None,
        last_event_id: bytes | None = None,
    ) -> Parser: ...
    def feed(self, chunk: bytes) -> list[dict[str, Any]]: ...
    @property
    def last_event_id(self) -> bytes: ...

def run(
    config: str,
    *,
    host: Host | None = None,
    processors: list[str] = ...,
    mirror: bool = False,
    log: Callable[[int, str, str], None] | None = None,
    log_level: int = 20,
    stop: StopFlag | None = None,
) -> dict[str, Any]:
    """Run the engine until one of its limits and return the report.

    The GIL is released while it works. Log records, the mirror and processors are called
    on the calling thread. Signals are looked at ten times a second: an exception raised by
    a handler stops the run at a committed offset and is raised again.
    """

def watch(config: str) -> Awaitable[dict[str, Any]]:
    """Wait until a source has what ``config`` asks for, and return what was seen.

    Must be called where an event loop runs. All waits of a process share one thread, which is
    made at the first. Cancelling the awaitable closes its connection. Nothing is committed.
    """

def look(config: str, *, seconds: float) -> dict[str, Any] | None:
    """Wait as :func:`watch` does, but here and at most so many seconds; None if nothing was seen."""

def migrate(
    database: str, owner: str, migrations: list[tuple[int, str, str]]
) -> list[dict[str, Any]]:
    """Apply the engine's migrations, then ``migrations`` (version, name, sql) of ``owner``."""

def status(database: str, stream: str | None = None) -> dict[str, Any]:
    """Return what the books say about one stream or about all.

    Per stream: offset, epoch, owner, whether its lock is held, last runs, open dead letters and
    gaps, what waits. Ages are in seconds by the server's clock.
    """

def doctor(database: str, config: str) -> dict[str, Any]:
    """Compare offset row, mirror, tables, rights and migrations without changing anything.

    Returns ``findings`` (each with a ``code`` and its numbers), the ``role`` that looked, and
    the stream's ``status`` or None.
    """

def validate(config: str, sample: bytes, *, connect: bool) -> dict[str, Any]:
    """Read a captured stream as :func:`run` would and land nothing.

    Returns ``routes`` with their columns, and for each of ``events`` the ``outcome``, ``tables`` and
    the reason of a refusal. Without ``connect`` columns hold anything and no database is asked.

    Raises:
        ConfigError: the preset is wrong.
        SchemaError: the tables are not as the routes need them.
    """

def propose_tables(tables: str) -> str:
    """Return the statements that create tables, from a JSON list of plans.

    A plan has ``table``, ``comment``, ``key`` and ``columns``; each of these ``name``, ``type``,
    ``required`` and ``note``.
    """

def raw_table_ddl(table: str) -> str:
    """Return the statements that create a table (``schema.table``) for raw events."""

def reset(database: str, config: str, *, dry: bool) -> dict[str, Any]:
    """Move a stream's offset in one transaction, or only tell what that would mean.

    Raises:
        OffsetConflictError: a run holds the stream, or it was moved since it was shown.
        ConfigError: the offset is impossible; nothing was moved.
    """

def prune(database: str, *, runs_days: int, settled_days: int) -> list[dict[str, Any]]:
    """Remove run history and settled dead letters that are older than so many days."""

def list_dead_letters(database: str, stream: str, selection: str) -> dict[str, Any]:
    """Return the selected letters: ``groups`` by reason, and ``letters`` without their bytes."""

def show_dead_letter(database: str, letter_id: int) -> dict[str, Any] | None:
    """Return one letter with its bytes as base64, None if there is none."""

def discard_dead_letters(database: str, stream: str, ids: list[int], *, by: str) -> list[int]:
    """Give open letters up; returns the ids of those that were open."""

def replay_dead_letters(
    database: str,
    config: str,
    *,
    host: Host | None = None,
    processors: list[str] = ...,
    log: Callable[[int, str, str], None] | None = None,
    log_level: int = 20,
    stop: StopFlag | None = None,
) -> dict[str, Any]:
    """Try dead letters again, page by page, and return what became of them.

    Every page is one transaction that lands letters and marks them. The stream is not taken
    and its offset not moved.
    """

__version__: str
