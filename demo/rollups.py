"""What the views over the counted sales must say of given facts, counted in plain Python.

Like the oracle it knows the rules a second time: nothing of the triggers takes part.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import psycopg2.extensions
from psycopg2 import sql

Row = Mapping[str, Any]
Key = tuple[object, ...]
# Rows of a view by key; numbers that are 0 are left out.
Counts = dict[Key, dict[str, Any]]

# View -> columns of its key; the others are its numbers.
VIEWS = {
    "analytics.sales_by_minute": ("minute", "location_code", "service_type"),
    "analytics.payments_by_minute": ("minute", "method"),
    "analytics.items_by_hour": ("hour", "category", "item_name"),
}


def count(
    orders: Iterable[Row], items: Iterable[Row], payments: Iterable[Row], feedback: Iterable[Row]
) -> dict[str, Counts]:
    """Return what each view must hold after these facts."""
    known = {str(order["order_id"]): order for order in orders}
    sales: defaultdict[Key, Counter[str]] = defaultdict(Counter)
    paid: defaultdict[Key, Counter[str]] = defaultdict(Counter)
    sold: defaultdict[Key, Counter[str]] = defaultdict(Counter)
    for order in known.values():
        numbers = sales[_sale(order["order_ts"], order)]
        numbers["orders"] += 1
        numbers["priced_orders"] += order["total"] is not None
        numbers["revenue"] += order["total"] or 0
        numbers["tips"] += order["tip"] or 0
    for item in items:
        order = known[str(item["order_id"])]
        numbers = sales[_sale(order["order_ts"], order)]
        numbers["items"] += item["qty"]
        numbers["item_revenue"] += item["extended_price"]
        hour = _minute(order["order_ts"]).replace(minute=0)
        numbers = sold[hour, item["category"], item["item_name"]]
        numbers["lines"] += 1
        numbers["quantity"] += item["qty"]
        numbers["revenue"] += item["extended_price"]
    for payment in payments:
        numbers = paid[_minute(payment["processed_at"]), payment["method"]]
        numbers["payments"] += 1
        numbers["amount"] += payment["amount"]
    for answer in feedback:
        numbers = sales[_sale(answer["created_ts"], known.get(str(answer["order_id"])))]
        numbers["feedback"] += 1
        if answer["rating"] is not None:
            numbers["ratings"] += 1
            numbers["rating_sum"] += answer["rating"]
        if answer["nps"] is not None:
            numbers["nps_answers"] += 1
            numbers["nps_sum"] += (answer["nps"] >= 9) - (answer["nps"] <= 6)
    return {
        view: {key: _without_zeros(numbers) for key, numbers in counts.items()}
        for view, counts in zip(VIEWS, (sales, paid, sold), strict=True)
    }


def read(connection: psycopg2.extensions.connection) -> dict[str, Counts]:
    """Return what each view holds."""
    found: dict[str, Counts] = {}
    for view, key in VIEWS.items():
        cursor = connection.cursor()
        cursor.execute(sql.SQL("select * from {}").format(sql.Identifier(*view.split("."))))
        columns = [column.name for column in cursor.description or ()]
        rows = (dict(zip(columns, values, strict=True)) for values in cursor)
        found[view] = {
            tuple(row.pop(column) for column in key): _without_zeros(row) for row in rows
        }
    return found


def differences(
    expected: Mapping[str, Counts], found: Mapping[str, Counts]
) -> Iterator[tuple[str, Key, object, object]]:
    """Yield view, key, expected and found numbers of each row that is not as it must be."""
    for view in VIEWS:
        for key in sorted(expected[view].keys() | found[view].keys(), key=str):
            wanted, seen = expected[view].get(key), found[view].get(key)
            if wanted != seen:
                yield view, key, wanted, seen


def _sale(at: datetime, order: Row | None) -> Key:
    if order is None:
        return _minute(at), "", ""
    return _minute(at), order["location_code"], order["service_type"]


def _minute(at: datetime) -> datetime:
    return at.astimezone(timezone.utc).replace(second=0, microsecond=0)


def _without_zeros(numbers: Mapping[str, int | Decimal]) -> dict[str, Any]:
    return {name: number for name, number in numbers.items() if number}
