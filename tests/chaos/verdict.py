"""Every row of every table against the source's own log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import psycopg2.extensions
from demo import oracle
from demo.http import get_json
from demo.smoke import snapshot

from chaos.world import STREAM, TALLY, World

# Enough to be quick, little enough to fit into memory whatever the length of a run.
SLICE_EVENTS = 20_000
PAGE = 5000

_OFFSET = """
    select epoch, position, high_water,
        (select count(*) from sse_stream.streams),
        (select count(*) from sse_stream.gaps)
    from sse_stream.streams where stream = %s"""
_LETTERS = "select reason_code, encode(substr(raw, 1, 80), 'escape') from sse_stream.dead_letters"
_BY_OFFSET = "select * from raw_data.events_raw where epoch = %s and event_offset between %s and %s"
# The facts as the log of their changes tells them, and facts that came twice.
_AUDIT = """
    with told as (
        select record_id, (array_agg(new_values order by audit_id desc))[1] as fact,
            count(*) filter (where operation = 'INSERT') as times
        from analytics.audit_log where table_name = '{table}' group by record_id
    )
    select count(*) filter (where told.fact is distinct from to_jsonb(t)),
        count(*) filter (where told.times > 1)
    from told full join {table} t on told.record_id = t.{key}::text
"""
# What was counted against what the facts say, which the slices compare one by one.
_ROLLUPS = "select object_name, differing from analytics.check_rollups() where differing > 0"
_HAS_WAITING = "select to_regclass('sse_stream.waiting') is not null"


@dataclass
class Verdict:
    """What the comparison found; `lost` and `doubled` hold table and offset of the event."""

    rows: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[str, int]] = field(default_factory=list)
    doubled: list[tuple[str, int]] = field(default_factory=list)
    offences: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.offences)


def judge(world: World, head: int, tallied: int, letters: list[str]) -> Verdict:
    """Compare all tables with the events 1 to `head`.

    The tally holds the events up to `tallied`, none if that is 0. `letters` are the beginnings of the dead letters
    that must be there, each once.
    """
    verdict = Verdict()
    epoch = get_json(f"{world.source.url}/health")["epoch"]
    expected: Counter[str] = Counter()
    with snapshot(world.databases) as connection:
        _judge_books(connection, (epoch, head), letters, verdict)
        for events in _slices(world.source.url, head):
            for table, count in _judge_slice(connection, events, epoch, verdict).items():
                expected[table] += count
        for table, count in expected.items():
            verdict.rows[table] = _one(connection, f"select count(*) from {table}")
            # All that is expected was looked for one by one: the rest is too much.
            missing = sum(name == table for name, _ in verdict.lost)
            verdict.doubled += [(table, 0)] * (verdict.rows[table] - count + missing)
        _judge_tally(connection, tallied, verdict)
        _judge_audit(connection, verdict)
        _judge_rollups(connection, verdict)
    return verdict


def prove(world: World, head: int, tallied: int) -> list[str]:
    """See that harm done by hand to the first events is found; return what was not."""
    epoch = get_json(f"{world.source.url}/health")["epoch"]
    events = next(_slices(world.source.url, head))
    verdict = Verdict()
    with snapshot(world.databases) as connection:
        cursor = connection.cursor()
        payments = [e["payload"] for e in events if e["event_type"] == "payment_captured"]
        cursor.execute(
            "delete from analytics.payments where payment_id = %s", [payments[0]["payment_id"]]
        )
        cursor.execute(
            "update analytics.orders set total = total + 0.01 where order_id = %s",
            [payments[1]["order_id"]],
        )
        cursor.execute(
            "delete from analytics.audit_log where table_name = %s and record_id = %s",
            [oracle.PAYMENTS, payments[2]["payment_id"]],
        )
        if tallied:
            cursor.execute(f"insert into {TALLY} select * from {TALLY} where event_offset = 7")
            cursor.execute(f"delete from {TALLY} where event_offset = 9")
        else:
            cursor.execute(f"insert into {TALLY} (event_offset) values (7)")
        cursor.execute(
            "update analytics.sales_by_minute_parts set revenue = revenue + 0.01"
            " where (minute, location_code, service_type, writer) = ("
            "select minute, location_code, service_type, writer"
            " from analytics.sales_by_minute_parts where orders > 0 limit 1)"
        )
        _judge_slice(connection, events, epoch, verdict)
        _judge_tally(connection, tallied, verdict)
        _judge_audit(connection, verdict)
        _judge_rollups(connection, verdict)
    found = (
        Counter(table for table, _ in verdict.lost),
        verdict.doubled,
        len(verdict.offences),
    )
    lost = [oracle.PAYMENTS, TALLY] if tallied else [oracle.PAYMENTS]
    wanted = (Counter(lost), [(TALLY, 7)], 3)
    return [] if found == wanted else [f"the comparison found {found}, expected {wanted}"]


def _judge_books(
    connection: psycopg2.extensions.connection,
    place: tuple[str, int],
    letters: list[str],
    verdict: Verdict,
) -> None:
    epoch, head = place
    cursor = connection.cursor()
    cursor.execute(_OFFSET, [STREAM])
    found = cursor.fetchall()
    if found != [(epoch, head, head, 1, 0)]:
        verdict.offences.append(
            f"epoch, position, high water, number of offset rows and of gaps are {found}, "
            f"expected {(epoch, head, head, 1, 0)}"
        )
    cursor.execute(_LETTERS)
    left = list(letters)
    for code, raw in cursor.fetchall():
        mark = next((letter for letter in left if raw.startswith(letter)), None)
        if mark is None or code != "too_large":
            verdict.offences.append(f"a dead letter {code!r} that has no cause: {raw!r}")
        else:
            left.remove(mark)
    verdict.offences += [f"the dead letter {mark!r} is missing" for mark in left]
    if _one(connection, _HAS_WAITING):
        waiting = _one(connection, "select count(*) from sse_stream.waiting")
        if waiting:
            verdict.offences.append(f"{waiting} children still wait for their parents")


def _judge_slice(
    connection: psycopg2.extensions.connection,
    events: list[oracle.Event],
    epoch: str,
    verdict: Verdict,
) -> Counter[str]:
    """Compare the rows of these events; return how many there must be, by table."""
    tables = oracle.expected_rows(events, epoch)
    for table, expected in tables.items():
        cursor = connection.cursor()
        if table == oracle.RAW:
            cursor.execute(_BY_OFFSET, [epoch, events[0]["offset"], events[-1]["offset"]])
        else:
            cursor.execute(
                f"select * from {table} where {oracle.KEYS[table]} = any(%s::uuid[])",
                [list(expected)],
            )
        found = _judge_rows(cursor, table, expected, verdict)
        if missing := expected.keys() - found:
            offsets = _offsets(events)
            verdict.lost += [(table, offsets.get(key, 0)) for key in missing]
    return Counter({table: len(rows) for table, rows in tables.items()})


def _judge_rows(
    cursor: psycopg2.extensions.cursor,
    table: str,
    expected: dict[str, oracle.Row],
    verdict: Verdict,
) -> set[str]:
    """Compare found rows column by column; return their keys."""
    columns = [column.name for column in cursor.description or ()]
    compared = [name for name in columns if name not in oracle.HOUSEKEEPING[table]]
    keys: set[str] = set()
    for values in cursor:
        row = dict(zip(columns, values, strict=True))
        if "payload" in row:
            row["payload"] = json.loads(row["payload"], parse_float=Decimal)
        key = str(row[oracle.KEYS[table]])
        # Too many rows show in the count of the whole table.
        keys.add(key)
        wanted = expected[key]
        for name in compared:
            if row[name] != wanted[name]:
                difference = oracle.Difference(table, key, name, wanted[name], row[name])
                verdict.offences.append(str(difference))
    return keys


def _judge_tally(
    connection: psycopg2.extensions.connection, tallied: int, verdict: Verdict
) -> None:
    """Compare the table without a key: each offset up to `tallied` once, none beyond."""
    cursor = connection.cursor()
    cursor.execute(f"select event_offset, count(*) from {TALLY} group by 1")
    found = dict(cursor.fetchall())
    verdict.rows[TALLY] = sum(found.values())
    verdict.lost += [(TALLY, offset) for offset in range(1, tallied + 1) if offset not in found]
    for offset, count in found.items():
        wanted = 1 if offset <= tallied else 0
        verdict.doubled += [(TALLY, offset)] * (count - wanted)


def _judge_audit(connection: psycopg2.extensions.connection, verdict: Verdict) -> None:
    """See that the log of changes rebuilds each table of facts and saw no row come twice."""
    cursor = connection.cursor()
    for table, key in oracle.KEYS.items():
        if table == oracle.RAW:
            continue
        cursor.execute(_AUDIT.format(table=table, key=key))
        differing, twice = cursor.fetchone() or (0, 0)
        if differing:
            verdict.offences.append(f"{table}: the audit log tells {differing} rows otherwise")
        if twice:
            verdict.offences.append(f"{table}: by the audit log {twice} rows came twice")


def _judge_rollups(connection: psycopg2.extensions.connection, verdict: Verdict) -> None:
    """See that each minute and hour that was counted agrees with the facts."""
    cursor = connection.cursor()
    cursor.execute(_ROLLUPS)
    for view, differing in cursor.fetchall():
        verdict.offences.append(f"{view}: {differing} rows are not what the facts say")


def _slices(url: str, head: int) -> Iterator[list[oracle.Event]]:
    """Yield the events 1 to `head` in parts, none of which ends in the middle of an order."""
    part: list[oracle.Event] = []
    since = 0
    while since < head:
        query = urlencode({"since": since, "limit": min(PAGE, head - since)})
        events = get_json(f"{url}/events?{query}", timeout_seconds=60)["events"]
        if not events or events[0]["offset"] != since + 1:
            raise ValueError(f"the source has no event {since + 1}")
        since = events[-1]["offset"]
        for event in events:
            if event["event_type"] == "order_created" and len(part) >= SLICE_EVENTS:
                yield part
                part = []
            part.append(event)
    yield part


def _offsets(events: list[oracle.Event]) -> dict[str, int]:
    """Return for each key of any table the offset of the event that made the row."""
    found: dict[str, int] = {}
    for event in events:
        found[str(event["offset"])] = event["offset"]
        for name in ("feedback_id", "payment_id", "order_item_id", "order_id"):
            if name in event["payload"]:
                found.setdefault(event["payload"][name], event["offset"])
                break
    return found


def _one(connection: psycopg2.extensions.connection, statement: str) -> Any:
    cursor = connection.cursor()
    cursor.execute(statement)
    (value,) = cursor.fetchone() or (0,)
    return value
