"""What every table must hold after the events of `/events`, computed in plain Python.

It knows the processing rules a second time, on purpose: no code, preset or SQL of the engine takes
part in the expectation, so that agreement means something.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import psycopg2.extensions
from psycopg2 import sql

from demo import rollups
from demo.http import get_json

Event = dict[str, Any]
Row = dict[str, Any]

EVENT_TYPES = ("order_created", "order_item_added", "payment_captured", "feedback_submitted")
PAGE = 5000
SHOWN = 20

RAW = "raw_data.events_raw"
ORDERS = "analytics.orders"
ITEMS = "analytics.order_items"
PAYMENTS = "analytics.payments"
FEEDBACK = "analytics.feedback"

# Columns that the database fills by itself; they must hold something, no event says what.
HOUSEKEEPING = {
    RAW: {"ingested_at", "ingested_by"},
    ORDERS: {"created_at", "updated_at"},
    ITEMS: {"created_at"},
    PAYMENTS: set(),
    FEEDBACK: set(),
}
KEYS = {
    RAW: "event_offset",
    ORDERS: "order_id",
    ITEMS: "order_item_id",
    PAYMENTS: "payment_id",
    FEEDBACK: "feedback_id",
}
MONEY = {
    ORDERS: ("subtotal", "tax", "tip", "total"),
    ITEMS: ("unit_price", "extended_price"),
    PAYMENTS: ("amount",),
}


@dataclass(frozen=True)
class Difference:
    """One place where the database is not what the events say."""

    table: str
    key: str
    column: str
    expected: object
    found: object

    def __str__(self) -> str:
        where = f"{self.table}, row {self.key}, {self.column}"
        return f"{where}: expected {self.expected}, found {self.found}"


@dataclass
class Comparison:
    """The outcome: what was compared, the sums of money, and every difference."""

    epoch: str
    position: int
    # Nothing above it has landed; between the two, what the faster writers have committed.
    highest: int = 0
    events: Counter[str] = field(default_factory=Counter)
    rows: dict[str, int] = field(default_factory=dict)
    money: dict[str, Decimal] = field(default_factory=dict)
    waiting: int = 0
    dead: int = 0
    differences: list[Difference] = field(default_factory=list)

    def report(self) -> str:
        """Return the counts, the sums and the first differences as lines for people."""
        lines = [f"offset {self.position} of epoch {self.epoch}"]
        lines += [f"  {name:<22}{count:>8} events" for name, count in sorted(self.events.items())]
        lines += [f"  {name:<22}{count:>8} rows" for name, count in self.rows.items()]
        lines.append(self._equation())
        lines += [f"  sum of {name:<32}{total:>14}" for name, total in self.money.items()]
        lines += [str(difference) for difference in self.differences[:SHOWN]]
        if len(self.differences) > SHOWN:
            lines.append(f"... and {len(self.differences) - SHOWN} more differences")
        return "\n".join(lines)

    def _equation(self) -> str:
        events = self.events.total()
        landed = events - self.waiting - self.dead
        return f"  {events} events = {landed} landed + {self.waiting} waiting + {self.dead} dead"


def compare(
    connection: psycopg2.extensions.connection, api_url: str, stream: str = "restaurant"
) -> Comparison:
    """Compare all tables with the events up to the committed offset, and those landed beyond it.

    Beyond it some writers may have committed what others have not: an event has landed if its raw
    row is there, and then all of it must be. `connection` must be in one snapshot (repeatable read), for the stream goes on while we look.
    Raise OSError when the generator does not answer, ValueError when the stream never landed.
    """
    cursor = connection.cursor()
    cursor.execute(
        "select epoch, position, highest from sse_stream.streams where stream = %s", [stream]
    )
    places = cursor.fetchall()
    if len(places) != 1:
        raise ValueError(f"stream {stream} is in the books {len(places)} times, expected once")
    outcome = Comparison(*places[0])
    cursor.execute(
        "select event_offset from raw_data.events_raw where epoch = %s and event_offset > %s",
        [outcome.epoch, outcome.position],
    )
    ahead = {offset for (offset,) in cursor}
    events = [
        event
        for event in _events(api_url, outcome)
        if event["offset"] <= outcome.position or event["offset"] in ahead
    ]
    outcome.events.update(event["event_type"] for event in events)
    for event_type in EVENT_TYPES:
        if not outcome.events[event_type]:
            outcome.differences.append(Difference("/events", event_type, "count", "some", 0))
    cursor.execute("select count(*) from sse_stream.dead_letters where stream = %s", [stream])
    (outcome.dead,) = cursor.fetchone() or (0,)
    if outcome.dead:
        outcome.differences.append(
            Difference("sse_stream.dead_letters", "any", "count", 0, outcome.dead)
        )
    cursor.execute(
        "select event_offset from sse_stream.waiting where stream = %s and epoch = %s",
        [stream, outcome.epoch],
    )
    waiting = {offset for (offset,) in cursor}
    outcome.waiting = len(waiting)
    tables = expected_rows(events, outcome.epoch, waiting)
    for table, expected in tables.items():
        _compare_table(connection, table, expected, outcome)
    _compare_rollups(connection, tables, outcome)
    return outcome


def expected_rows(
    events: Iterable[Event], epoch: str, waiting: Container[int] = ()
) -> dict[str, dict[str, Row]]:
    """Return table -> key as text -> row, as the processing rules demand.

    Of an event that waits for its order only the raw row is there; that it waits with reason shows
    in that the others agree.
    """
    tables: dict[str, dict[str, Row]] = {table: {} for table in KEYS}

    def put(table: str, row: Row) -> None:
        tables[table].setdefault(str(row[KEYS[table]]), row)

    for event in events:
        payload = event["payload"]
        put(RAW, _raw(event, epoch))
        if event["offset"] in waiting:
            continue
        match event["event_type"]:
            case "order_created":
                put(ORDERS, _order(payload))
            case "order_item_added":
                put(ITEMS, _item(payload))
            case "payment_captured":
                order = tables[ORDERS][payload["order_id"]]
                order.update({column: _money(payload[column]) for column in MONEY[ORDERS]})
                put(PAYMENTS, _payment(payload, event))
            case "feedback_submitted":
                put(FEEDBACK, _feedback(payload, event))
    return tables


def _events(api_url: str, outcome: Comparison) -> Iterator[Event]:
    """Yield the events 1 to `highest`, and note any that /events leaves out or repeats."""
    since = 0
    while since < outcome.highest:
        page = get_json(f"{api_url}/events?{urlencode({'since': since, 'limit': PAGE})}")
        if page["epoch"] != outcome.epoch:
            outcome.differences.append(
                Difference("/events", "epoch", "epoch", outcome.epoch, page["epoch"])
            )
            return
        for event in page["events"]:
            if event["offset"] > outcome.highest:
                return
            if event["offset"] != since + 1:
                outcome.differences.append(
                    Difference("/events", str(since + 1), "offset", since + 1, event["offset"])
                )
            since = event["offset"]
            yield event
        if not page["events"]:
            outcome.differences.append(
                Difference("/events", "last", "offset", outcome.highest, since)
            )
            return


def _compare_table(
    connection: psycopg2.extensions.connection,
    table: str,
    expected: dict[str, Row],
    outcome: Comparison,
) -> None:
    found = {str(row[KEYS[table]]): row for row in _rows(connection, table)}
    outcome.rows[table] = len(found)
    differ = outcome.differences.append
    for key in expected.keys() - found.keys():
        differ(Difference(table, key, "row", "present", "missing"))
    for key in found.keys() - expected.keys():
        differ(Difference(table, key, "row", "absent", "present"))
    for key in expected.keys() & found.keys():
        outcome.differences.extend(_compare_row(table, key, expected[key], found[key]))
    for column in MONEY.get(table, ()):
        _compare_sum(connection, table, column, expected, outcome)


def _compare_row(table: str, key: str, expected: Row, found: Row) -> Iterator[Difference]:
    for column in found.keys() | expected.keys():
        value = found.get(column, "no such column")
        if column not in HOUSEKEEPING[table]:
            wanted = expected.get(column, "no such column")
            if value != wanted:
                yield Difference(table, key, column, wanted, value)
        elif value is None:
            yield Difference(table, key, column, "a value", None)


def _compare_sum(
    connection: psycopg2.extensions.connection,
    table: str,
    column: str,
    expected: dict[str, Row],
    outcome: Comparison,
) -> None:
    """Compare the database's own sum with one in Decimal: money never passes through a float."""
    statement = sql.SQL("select coalesce(sum({}), 0) from {}").format(
        sql.Identifier(column), _identifier(table)
    )
    cursor = connection.cursor()
    cursor.execute(statement)
    (found,) = cursor.fetchone() or (Decimal(0),)
    total = sum((row[column] or Decimal(0) for row in expected.values()), Decimal(0))
    outcome.money[f"{table}.{column}"] = found
    if found != total:
        outcome.differences.append(Difference(table, "all", f"sum of {column}", total, found))


def _compare_rollups(
    connection: psycopg2.extensions.connection,
    tables: dict[str, dict[str, Row]],
    outcome: Comparison,
) -> None:
    facts = (tables[table].values() for table in (ORDERS, ITEMS, PAYMENTS, FEEDBACK))
    found = rollups.read(connection)
    outcome.rows.update({view: len(rows) for view, rows in found.items()})
    for view, key, wanted, seen in rollups.differences(rollups.count(*facts), found):
        place = ", ".join(str(part) for part in key)
        outcome.differences.append(Difference(view, place, "numbers", wanted, seen))


def _rows(connection: psycopg2.extensions.connection, table: str) -> Iterator[Row]:
    cursor = connection.cursor()
    cursor.execute(sql.SQL("select * from {}").format(_identifier(table)))
    columns = [column.name for column in cursor.description or ()]
    readers: list[Callable[[Any], Any]] = [
        _plain_json if column == "payload" else _plain for column in columns
    ]
    for values in cursor:
        yield {
            column: read(value)
            for column, read, value in zip(columns, readers, values, strict=True)
        }


def _identifier(table: str) -> sql.Composable:
    return sql.Identifier(*table.split("."))


def _plain(value: Any) -> Any:
    return value


def _plain_json(value: Any) -> Any:
    # The connection leaves jsonb as text, so that its numbers come to us exactly.
    return json.loads(value, parse_float=Decimal)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _money(number: Any) -> Decimal:
    return Decimal(number)


def _raw(event: Event, epoch: str) -> Row:
    return {
        "epoch": epoch,
        "event_offset": event["offset"],
        "event_id": event["event_id"],
        "event_type": event["event_type"],
        "ts": _time(event["ts"]),
        "partition_key": event["partition_key"],
        "payload": event["payload"],
    }


def _order(payload: Row) -> Row:
    return {
        "order_id": payload["order_id"],
        "visit_id": payload["visit_id"],
        "service_type": payload["service_type"],
        "order_ts": _time(payload["order_ts"]),
        "location_code": payload["location_code"],
        **dict.fromkeys(MONEY[ORDERS]),
    }


def _item(payload: Row) -> Row:
    same = ("order_item_id", "order_id", "menu_item_id", "category", "item_name", "qty")
    return {
        **{column: payload[column] for column in same},
        **{column: _money(payload[column]) for column in MONEY[ITEMS]},
    }


def _payment(payload: Row, event: Event) -> Row:
    same = ("payment_id", "order_id", "method", "provider", "auth_code")
    return {
        **{column: payload[column] for column in same},
        "amount": _money(payload["amount"]),
        "processed_at": _time(event["ts"]),
    }


def _feedback(payload: Row, event: Event) -> Row:
    same = ("feedback_id", "order_id", "customer_id", "rating", "nps", "comment")
    return {
        **{column: payload[column] for column in same},
        "created_ts": _time(payload["created_ts"]),
        "processed_at": _time(event["ts"]),
    }
