"""The native module without Airflow: parser, runs, errors, GIL, signals, fork, processors."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sse_stream import (
    ConfigError,
    DatabaseError,
    OffsetConflictError,
    ProtocolError,
    SchemaError,
    SourceError,
    SourceRejectedError,
    SSEStreamError,
    _native,
)
from sse_stream.processors import event_processor, run_processor

from .conftest import Database, Source

CASES = json.loads(
    (Path(__file__).resolve().parents[1] / "fixtures" / "sse_cases.json").read_text()
)["cases"]

PRESET = """
[stream]
name = "mini"
epoch_header = "X-Epoch"
offsets = "dense"
[[route]]
event = "*"
table = "public.raw"
mode = "insert"
key = ["epoch", "position"]
columns = { epoch = "$epoch", position = "$id", kind = "$event", body = "$data" }
[[route]]
event = "thing"
table = "public.things"
mode = "insert"
key = ["id"]
columns = { id = "/payload/id", price = "/payload/price" }
"""
MIGRATION = """
create table raw (epoch text, position bigint, kind text not null, body jsonb not null,
    primary key (epoch, position));
create table things (id int primary key, price numeric(10, 2) not null);
create table notes (note text, price numeric(10, 2));
"""


# --- the parser ---------------------------------------------------------------------------


def _bytes(groups: str) -> bytes:
    """Read a byte string: hex groups parted by blanks, `xx*N` repeats a group."""
    parts = (group.partition("*") for group in groups.split())
    return b"".join(bytes.fromhex(digits) * int(times or 1) for digits, _, times in parts)


def _chunks(whole: bytes, chunking: Any) -> list[bytes]:
    if isinstance(chunking, list):
        return [_bytes(chunk) for chunk in chunking]
    size = {"one": len(whole) or 1, "bytes": 1, "pairs": 2}[chunking]
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _readable(item: dict[str, Any]) -> dict[str, Any]:
    for name in ("id", "text"):
        if name in item:
            item[name] = item[name].decode("utf-8", "replace")
    return item


def _expected(item: dict[str, Any]) -> dict[str, Any]:
    item = dict(item)
    for name in ("data", "text"):
        if f"{name}_bytes" in item:
            item[name] = _bytes(item.pop(f"{name}_bytes")).decode()
    for name in ("raw_data", "head"):
        if name in item:
            item[name] = _bytes(item[name])
    return item


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_every_parser_case(case: dict[str, Any]) -> None:
    limits = {
        f"max_{name.removeprefix('max_').removesuffix('_bytes')}_bytes": value
        for name, value in case.get("limits", {}).items()
    }
    start = case.get("start_last_event_id")
    for chunking in case["chunkings"]:
        parser = _native.Parser(last_event_id=start.encode() if start else None, **limits)
        items = []
        for chunk in _chunks(_bytes(case["input"]), chunking):
            items += parser.feed(chunk)
        assert [_readable(item) for item in items] == [_expected(item) for item in case["items"]]
        assert parser.last_event_id.decode("utf-8", "replace") == case["last_event_id"]


# --- runs ---------------------------------------------------------------------------------


def _envelope(number: int, kind: str = "thing", price: str = "12.50") -> str:
    return (
        f'{{"offset":{number},"event_type":"{kind}","payload":{{"id":{number},"price":{price}}}}}'
    )


def _block(number: int, kind: str = "thing", price: str = "12.50") -> bytes:
    return f"id: {number}\nevent: {kind}\ndata: {_envelope(number, kind, price)}\n\n".encode()


def _serve(source: Source, last: int, epoch: str = "e1", first: int = 1, pause: float = 0) -> None:
    """Serve events `first` to `last`, then stay open."""

    def events(since: int) -> Iterator[bytes]:
        for number in range(max(since + 1, first), last + 1):
            yield _block(number)
            if pause:
                time.sleep(pause)

    source.stream("/stream", events, X_Epoch=epoch)


@pytest.fixture
def database(database: Database) -> Database:
    """A fresh database with the mini preset's tables."""
    _native.migrate(json.dumps(database.params), "mini", [(1, "tables", MIGRATION)])
    return database


def _config(source: Source, database: Database, /, **settings: Any) -> str:
    defaults: dict[str, Any] = {
        "source": {"url": f"{source.url}/stream", "max_attempts": 1},
        "database": database.params,
        "preset": PRESET,
        "timeout_seconds": 5,
        "batch_events": 10,
        "linger_ms": 20,
    }
    return json.dumps({**defaults, **settings})


def test_a_run_to_its_report(source: Source, database: Database) -> None:
    _serve(source, 25)
    report = _native.run(_config(source, database, max_events=20))
    assert report["events_processed"] == 20
    assert (report["first_offset"], report["last_offset"], report["position"]) == (1, 20, 20)
    assert report["rows"] == {"public.raw": 20, "public.things": 20}
    assert (report["duplicates"], report["dead_letters"]) == (0, 0)
    assert report["epoch"] == "e1"
    assert report["stop_reason"] == "event_limit"
    assert report["batches_processed"] >= 1
    assert report["events_per_second"] > 0
    assert report["execution_time_seconds"] > 0
    assert database.rows("select count(*), sum(price)::text from things") == [(20, "250.00")]

    rest = _native.run(_config(source, database, idle_timeout_seconds=0.3))
    assert (rest["first_offset"], rest["last_offset"], rest["stop_reason"]) == (21, 25, "idle")
    assert database.rows("select count(*) from raw") == [(25,)]
    status = _native.status(json.dumps(database.params), "mini")
    assert status["streams"][0]["position"] == 25
    assert len(status["streams"][0]["last_runs"]) == 2


def test_a_bad_event_is_a_dead_letter_and_costs_no_neighbour(
    source: Source, database: Database
) -> None:
    def events(since: int) -> Iterator[bytes]:
        yield _block(1) + _block(2, price='"free"') + b"id: 3\nevent: thing\ndata: {no\n\n"
        yield _block(4, kind="strange") + _block(5)

    source.stream("/stream", events, X_Epoch="e1")
    report = _native.run(_config(source, database, max_events=5))
    assert (report["events_processed"], report["dead_letters"]) == (5, 3)
    assert database.rows("select id from things order by id") == [(1,), (5,)]
    assert database.rows("select position from raw order by position") == [(1,), (5,)]
    letters = database.rows("select event_offset from sse_stream.dead_letters order by 1")
    assert letters == [(2,), (3,), (4,)]


def test_unknown_events_may_be_kept_raw_or_ignored(source: Source, database: Database) -> None:
    def events(since: int) -> Iterator[bytes]:
        yield b"".join(_block(number, kind="strange") for number in (1, 2) if number > since)

    source.stream("/stream", events, X_Epoch="e1")
    raw = _native.run(_config(source, database, max_events=1, unknown_events="raw_only"))
    assert raw["rows"].get("public.raw") == 1
    ignored = _native.run(_config(source, database, max_events=1, unknown_events="ignore"))
    assert (ignored["ignored"], ignored["dead_letters"]) == (1, 0)


def test_the_mirror_is_read_and_written(source: Source, database: Database) -> None:
    _serve(source, 9)
    written: list[int] = []

    class Host:
        def read_mirror(self) -> str:
            return str(written[-1]) if written else "4"

        def write_mirror(self, position: int) -> None:
            written.append(position)

        def process(self, event_type: str, data: str, cursor: Any) -> None:
            raise AssertionError("no processor was named")

    report = _native.run(_config(source, database, max_events=3), host=Host(), mirror=True)
    assert (report["first_offset"], report["last_offset"]) == (5, 7)
    assert written[-1] == 7


def test_log_records_arrive_on_the_calling_thread(source: Source, database: Database) -> None:
    _serve(source, 5)
    records: list[tuple[int, str, str]] = []
    threads = set()

    def log(level: int, target: str, message: str) -> None:
        records.append((level, target, message))
        threads.add(threading.current_thread())

    # Of a login of its own: the server's may be a letter that is in every text.
    login, password = f"{database.name}_login", "kept-out-of-every-log"
    database.rows(f"create role {login} login superuser password '{password}'")
    try:
        params = {**database.params, "user": login, "password": password}
        _native.run(_config(source, database, database=params, max_events=5), log=log)
    finally:
        database.rows(f"drop owned by {login}; drop role {login}")
    assert threads == {threading.main_thread()}
    assert any(level == 20 and "5 events" in message for level, _, message in records)
    assert all(target.split("::")[0] in {"ingest", "sse", "_native"} for _, target, _ in records)
    assert all(level >= 20 for level, _, _ in records)
    text = " ".join(message for _, _, message in records)
    assert password not in text


def test_an_exception_of_the_log_function_is_raised(source: Source, database: Database) -> None:
    _serve(source, 1)

    def log(level: int, target: str, message: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _native.run(_config(source, database), log=log)


# --- errors -------------------------------------------------------------------------------


def test_a_source_that_cannot_be_reached(source: Source, database: Database) -> None:
    config = _config(source, database, source={"url": "http://127.0.0.1:1/s", "max_attempts": 2})
    with pytest.raises(SourceError, match="127") as caught:
        _native.run(config)
    assert caught.value.transient


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_source_that_refuses(source: Source, database: Database, status: int) -> None:
    source.answer("/stream", status)
    with pytest.raises(SourceRejectedError, match=str(status)) as caught:
        _native.run(_config(source, database))
    assert not caught.value.transient


def test_a_source_that_is_no_event_stream(source: Source, database: Database) -> None:
    source.answer("/stream", 200, b"<html>", Content_Type="text/html")
    with pytest.raises(SourceRejectedError, match="text/html"):
        _native.run(_config(source, database))


def test_a_database_that_cannot_be_reached(source: Source, database: Database) -> None:
    params = {**database.params, "port": "1", "password": "s3cret"}
    with pytest.raises(DatabaseError) as caught:
        _native.run(_config(source, database, database=params))
    assert "s3cret" not in str(caught.value)
    assert caught.value.transient


def test_a_missing_table_is_named_with_the_command_that_makes_it(
    source: Source, database: Database
) -> None:
    database.rows("drop table things")
    with pytest.raises(SchemaError, match="things"):
        _native.run(_config(source, database))


def test_missing_books_name_the_command_that_makes_them(
    source: Source, shared_database: Database
) -> None:
    with pytest.raises(SchemaError, match="migrate"):
        _native.run(_config(source, shared_database))


def test_a_changed_migration_is_refused(database: Database) -> None:
    with pytest.raises(SchemaError, match="tables"):
        _native.migrate(json.dumps(database.params), "mini", [(1, "tables", MIGRATION + "--")])


def test_a_stream_that_is_held_by_another_run(source: Source, database: Database) -> None:
    _serve(source, 1)
    stop, holding = _native.StopFlag(), threading.Event()

    def hold() -> None:
        _native.run(
            _config(source, database, timeout_seconds=None),
            stop=stop,
            log=lambda level, target, message: holding.set(),
        )

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert holding.wait(10)
        with pytest.raises(OffsetConflictError) as caught:
            _native.run(_config(source, database, lease_timeout_seconds=0.3))
        assert caught.value.transient
    finally:
        stop.set()
        holder.join()


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"preset": "[stream]\nname = 'x'\nnmae = 1"}, "nmae"),
        ({"source": {"url": "ftp://h/s"}}, "ftp"),
        # A wrong value is not quoted: it may be a secret.
        ({"unknown_events": "drop"}, "a value of the wrong kind"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"surprise": 1}, "surprise"),
        ({"database": {"host": "h", "colour": "blue"}}, "colour"),
    ],
)
def test_wrong_settings(
    source: Source, database: Database, settings: dict[str, Any], part: str
) -> None:
    with pytest.raises(ConfigError, match=part):
        _native.run(_config(source, database, **settings))


def test_config_errors_are_value_errors_and_all_have_one_base() -> None:
    kinds = [SourceError, SourceRejectedError, ProtocolError, DatabaseError, SchemaError]
    for kind in [*kinds, OffsetConflictError, ConfigError]:
        assert issubclass(kind, SSEStreamError)
    with pytest.raises(ValueError, match="settings"):
        _native.run("{}")


def test_an_id_that_no_request_can_repeat_is_a_protocol_error(
    source: Source, database: Database
) -> None:
    """The event itself lands as a dead letter; going on from it is what cannot be said."""
    body = b"id: \x01\nevent: thing\ndata: {}\n\n"
    source.answer("/stream", 200, body, Content_Type="text/event-stream")
    with pytest.raises(ProtocolError) as caught:
        _native.run(_config(source, database))
    assert not caught.value.transient
    assert database.rows("select count(*) from sse_stream.dead_letters") == [(1,)]


# --- GIL, stop, signals, fork -------------------------------------------------------------


def test_the_gil_is_released(source: Source, database: Database) -> None:
    _serve(source, 3)
    done = threading.Event()
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.005):
            ticks += 1

    ticker = threading.Thread(target=tick)
    ticker.start()
    _native.run(_config(source, database, timeout_seconds=1))
    done.set()
    ticker.join()
    assert ticks > 60


def test_the_stop_flag_ends_a_run_within_a_second(source: Source, database: Database) -> None:
    _serve(source, 10_000, pause=0.001)
    stop = _native.StopFlag()
    asked: list[float] = []
    threading.Timer(0.7, lambda: (asked.append(time.monotonic()), stop.set())).start()
    report = _native.run(_config(source, database), stop=stop)
    assert time.monotonic() - asked[0] < 1
    assert report["stop_reason"] == "stopped"
    _offset_agrees(database, report["position"])


def _offset_agrees(database: Database, position: int | None = None) -> None:
    """Every event up to the committed offset has landed and none beyond it."""
    ((stored,),) = database.rows("select position from sse_stream.streams")
    assert position is None or stored == position
    ((count, last),) = database.rows("select count(*), max(position) from raw")
    assert (count, last) == (stored, stored)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_within_a_second(
    source: Source, database: Database, number: signal.Signals
) -> None:
    class Terminated(BaseException):
        pass

    def handle(*_: Any) -> None:
        raise Terminated

    _serve(source, 10_000, pause=0.001)
    asked: list[float] = []
    before = signal.signal(number, handle)
    try:
        threading.Timer(
            0.7, lambda: (asked.append(time.monotonic()), os.kill(os.getpid(), number))
        ).start()
        with pytest.raises(Terminated):
            _native.run(_config(source, database))
        assert time.monotonic() - asked[0] < 1
    finally:
        signal.signal(number, before)
    _offset_agrees(database)


def test_ctrl_c_is_a_keyboard_interrupt_also_while_waiting_for_the_source(
    source: Source, database: Database
) -> None:
    config = _config(source, database, source={"url": "http://127.0.0.1:1/s"})
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _native.run(config)
    assert time.monotonic() - began < 1.3


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_run_after_a_fork(source: Source, database: Database) -> None:
    _serve(source, 10)
    _native.run(_config(source, database, max_events=3))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            report = _native.run(_config(source, database, max_events=4, timeout_seconds=10))
            code = 0 if report["last_offset"] == 7 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert _native.run(_config(source, database, max_events=3))["last_offset"] == 10


def test_no_thread_outlives_a_run(source: Source, database: Database) -> None:
    _serve(source, 3)
    before = len(os.listdir("/proc/self/task"))
    _native.run(_config(source, database, max_events=3))
    deadline = time.monotonic() + 2
    # The source's own thread may still be saying goodbye.
    while len(os.listdir("/proc/self/task")) > before + 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    names = [
        Path(f"/proc/self/task/{task}/comm").read_text().strip()
        for task in os.listdir("/proc/self/task")
    ]
    assert not [name for name in names if name.startswith("sse_stream")]


# --- processors ---------------------------------------------------------------------------


class Processors:
    """A host with one processor, and what it was called with."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.calls: list[int] = []
        self.threads: set[threading.Thread] = set()

    def read_mirror(self) -> None:
        return None

    def write_mirror(self, position: int) -> None:
        pass

    def process(self, event_type: str, data: str, cursor: Any) -> None:
        self.calls.append(json.loads(data)["offset"])
        self.threads.add(threading.current_thread())
        run_processor(self.function, data, cursor)


@event_processor("thing")
def _note(cursor: Any, event: dict[str, Any], payload: dict[str, Any]) -> None:
    cursor.execute("select count(*) from raw where position = %s", (event["offset"],))
    assert cursor.fetchone() == (1,), "the raw row comes first"
    cursor.execute(
        "insert into notes (note, price) values (%(note)s, %(price)s)",
        {"note": f"thing {payload['id']}", "price": payload["price"]},
    )
    assert cursor.rowcount == 1


def test_a_processor_replaces_the_routes_of_its_type(source: Source, database: Database) -> None:
    _serve(source, 5)
    host = Processors(_note)
    report = _native.run(_config(source, database, max_events=5), host=host, processors=["thing"])
    assert (report["events_processed"], report["dead_letters"]) == (5, 0)
    assert host.calls == [1, 2, 3, 4, 5]
    assert host.threads == {threading.main_thread()}
    assert database.rows("select note, price::text from notes order by note")[0] == (
        "thing 1",
        "12.50",
    )
    assert database.rows("select count(*) from things") == [(0,)]
    assert database.rows("select count(*) from raw") == [(5,)]


def test_a_processor_that_raises_makes_a_dead_letter_and_leaves_nothing(
    source: Source, database: Database
) -> None:
    def pick(cursor: Any, event: dict[str, Any], payload: dict[str, Any]) -> None:
        cursor.execute("insert into notes (note) values (%s)", (str(payload["id"]),))
        if payload["id"] == 2:
            raise ValueError("two is not welcome")
        if payload["id"] == 3:
            cursor.execute("insert into nowhere values (1)")

    _serve(source, 4)
    report = _native.run(
        _config(source, database, max_events=4), host=Processors(pick), processors=["thing"]
    )
    assert (report["events_processed"], report["dead_letters"]) == (4, 2)
    assert database.rows("select note from notes order by note") == [("1",), ("4",)]
    assert database.rows("select position from raw order by 1") == [(1,), (4,)]
    letters = database.rows(
        "select event_offset, reason_code, reason from sse_stream.dead_letters order by 1"
    )
    assert [letter[:2] for letter in letters] == [(2, "processor_error"), (3, "processor_error")]
    assert "two is not welcome" in letters[0][2]
    assert "nowhere" in letters[1][2]


def test_a_processor_is_not_called_for_duplicates(source: Source, database: Database) -> None:
    _serve(source, 3)
    host = Processors(_note)
    _native.run(_config(source, database, max_events=3), host=host, processors=["thing"])
    database.rows("update sse_stream.offsets set position = 0")
    report = _native.run(_config(source, database, max_events=3), host=host, processors=["thing"])
    assert report["duplicates"] == 3
    assert host.calls == [1, 2, 3]
    assert database.rows("select count(*) from notes") == [(3,)]


def test_a_processor_may_not_end_the_transaction(source: Source, database: Database) -> None:
    _serve(source, 1)
    host = Processors(lambda cursor, event, payload: cursor.execute("commit"))
    report = _native.run(_config(source, database, max_events=1), host=host, processors=["thing"])
    assert report["dead_letters"] == 1


def test_an_interrupted_processor_makes_no_dead_letter(source: Source, database: Database) -> None:
    """The event was not bad; its batch is rolled back and comes again."""

    def interrupt(cursor: Any, event: dict[str, Any], payload: dict[str, Any]) -> None:
        cursor.execute("insert into notes (note) values ('half')")
        raise KeyboardInterrupt

    _serve(source, 3)
    config = _config(source, database, max_events=3)
    with pytest.raises(KeyboardInterrupt):
        _native.run(config, host=Processors(interrupt), processors=["thing"])
    assert database.rows("select count(*) from notes") == [(0,)]
    assert database.rows("select count(*) from sse_stream.dead_letters") == [(0,)]
    report = _native.run(config, host=Processors(_note), processors=["thing"])
    assert (report["first_offset"], report["dead_letters"]) == (1, 0)


def test_a_cursor_is_valid_during_its_call_only(source: Source, database: Database) -> None:
    kept: list[Any] = []
    _serve(source, 1)
    host = Processors(lambda cursor, event, payload: kept.append(cursor))
    _native.run(_config(source, database, max_events=1), host=host, processors=["thing"])
    with pytest.raises(RuntimeError, match="closed"):
        kept[0].execute("select 1")
