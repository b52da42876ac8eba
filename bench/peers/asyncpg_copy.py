"""asyncpg: records by binary COPY into temporary tables, then `on conflict do nothing`.

One event loop reads, decodes and loads; the next batch is decoded while the server works on the
last one. Like the psycopg peer it merges an order and its payment where both are in one batch, and
leaves out what that one leaves out.
"""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from bench import contest
from bench.peers import feed

MONEY = ["subtotal", "tax", "tip", "total"]
COLUMNS = {
    "raw_data.events_raw": [
        "epoch", "event_offset", "event_id", "event_type", "ts", "partition_key", "payload",
    ],
    "analytics.orders": [
        "order_id", "visit_id", "service_type", "order_ts", "location_code", *MONEY,
    ],
    "analytics.order_items": [
        "order_item_id", "order_id", "menu_item_id", "category", "item_name", "unit_price", "qty",
        "extended_price",
    ],
    "analytics.payments": [
        "payment_id", "order_id", "method", "provider", "amount", "auth_code", "processed_at",
    ],
    "analytics.feedback": [
        "feedback_id", "order_id", "customer_id", "rating", "nps", "comment", "created_ts",
        "processed_at",
    ],
    "late": ["order_id", *MONEY],
}  # fmt: skip
LATE = """
update analytics.orders o
set subtotal = s.subtotal, tax = s.tax, tip = s.tip, total = s.total
from stage_late s where o.order_id = s.order_id and o.total is null
"""
Rows = dict[str, list[Any]]


def time(text: str) -> datetime:
    """Read a time as the generator writes it; Python 3.10 knows no Z."""
    return datetime.fromisoformat(text[:-1] + "+00:00")


def money(payload: dict[str, Any], *names: str) -> list[Decimal]:
    """Return amounts exactly: repr gives back the digits that were sent."""
    return [Decimal(repr(payload[name])) for name in names]


def build(events: list[bytes]) -> Rows:
    """Return the rows of all tables."""
    rows: Rows = {table: [] for table in COLUMNS}
    orders: dict[str, list[Any]] = {}
    for data in events:
        event = orjson.loads(data)
        p, kind, ts = event["payload"], event["event_type"], time(event["ts"])
        payload = data[data.index(b'"payload":') + 10 : -1].decode()
        rows["raw_data.events_raw"].append(
            ("bench", event["offset"], UUID(event["event_id"]), kind, ts, event["partition_key"],
             payload)
        )  # fmt: skip
        order = UUID(p["order_id"])
        if kind == "order_item_added":
            rows["analytics.order_items"].append(
                (UUID(p["order_item_id"]), order, UUID(p["menu_item_id"]), p["category"],
                 p["item_name"], *money(p, "unit_price"), p["qty"], *money(p, "extended_price"))
            )  # fmt: skip
        elif kind == "order_created":
            visit = UUID(p["visit_id"]) if p["visit_id"] else None
            at = time(p["order_ts"])
            orders[p["order_id"]] = [order, visit, p["service_type"], at, p["location_code"]]
        elif kind == "payment_captured":
            amounts = money(p, *MONEY)
            if p["order_id"] in orders:
                orders[p["order_id"]] += amounts
            else:
                rows["late"].append((order, *amounts))
            rows["analytics.payments"].append(
                (UUID(p["payment_id"]), order, p["method"], p["provider"], *money(p, "amount"),
                 p["auth_code"], ts)
            )  # fmt: skip
        elif kind == "feedback_submitted":
            rows["analytics.feedback"].append(
                (UUID(p["feedback_id"]), order, UUID(p["customer_id"]), p["rating"], p["nps"],
                 p["comment"], time(p["created_ts"]), ts)
            )  # fmt: skip
    rows["analytics.orders"] = [
        row if len(row) > 5 else [*row, None, None, None, None] for row in orders.values()
    ]
    return rows


async def load(session: Any, rows: Rows) -> None:
    """Land one batch in one transaction."""
    async with session.transaction():
        for table, columns in COLUMNS.items():
            if rows[table]:
                stage, names = f"stage_{table.rpartition('.')[2]}", ", ".join(columns)
                await session.copy_records_to_table(stage, records=rows[table], columns=columns)
                await session.execute(
                    LATE
                    if table == "late"
                    else f"insert into {table} ({names}) select {names} from {stage}"
                    " on conflict do nothing"
                )


async def land(options: Any) -> None:
    """Land everything; one batch is being loaded while the next one is built."""
    session = await asyncpg.connect(options.database)
    for table, columns in COLUMNS.items():
        like = "analytics.orders" if table == "late" else table
        await session.execute(
            f"create temp table stage_{table.rpartition('.')[2]} on commit delete rows as"
            f" select {', '.join(columns)} from {like} with no data"
        )
    loading: asyncio.Task[None] | None = None
    for events in feed.batches(options.stream, options.events, options.batch):
        rows = build(events)
        if loading is not None:
            await loading
        loading = asyncio.create_task(load(session, rows))
        # Lets it send what it has; the server then works while this thread builds.
        await asyncio.sleep(0)
    if loading is not None:
        await loading
    await session.close()


def main() -> None:
    """Run the loop."""
    options = contest.arguments(__doc__).parse_args()
    contest.contend(lambda: asyncio.run(land(options)))


if __name__ == "__main__":
    main()
