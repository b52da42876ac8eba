"""Random but reproducible restaurant facts, as plain Python rows, for tests of the schema."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from psycopg2 import sql
from psycopg2.extras import execute_values
from schema_database import Database

CENT = Decimal("0.01")
FACTS = {
    "orders": "order_id",
    "order_items": "order_item_id",
    "payments": "payment_id",
    "feedback": "feedback_id",
}


def cents(value: Decimal) -> Decimal:
    """Rounded to two decimals, halves away from zero, as PostgreSQL's round does."""
    return value.quantize(CENT, ROUND_HALF_UP)


@dataclass
class Facts:
    orders: list[dict[str, Any]] = field(default_factory=list)
    order_items: list[dict[str, Any]] = field(default_factory=list)
    payments: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)

    def insert(self, database: Database) -> None:
        for table in FACTS:
            insert(database, table, getattr(self, table))


def insert(database: Database, table: str, rows: list[dict[str, Any]], suffix: str = "") -> None:
    """Inserts rows of one fact table in one statement."""
    if not rows:
        return
    columns = list(rows[0])
    statement = sql.SQL("insert into {} ({}) values %s ").format(
        sql.Identifier("analytics", table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with database.connection.cursor() as cursor:
        execute_values(
            cursor,
            statement.as_string(cursor) + suffix,
            [tuple(row[column] for column in columns) for row in rows],
            page_size=len(rows),
        )


def make_facts(seed: int, orders: int, *, unpaid: float = 0.1) -> Facts:
    """Orders over three days, some without payment, most without feedback."""
    rng = random.Random(seed)
    start = datetime(2026, 11, 1, tzinfo=timezone.utc)
    facts = Facts()

    def new_id() -> str:
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))

    for _ in range(orders):
        order_id = new_id()
        at = start + timedelta(microseconds=rng.randrange(3 * 86_400_000_000))
        paid = rng.random() >= unpaid
        subtotal = Decimal(0)
        for _ in range(rng.randint(1, 4)):
            item = rng.randrange(20)
            price, qty = Decimal(rng.randint(225, 4000)) / 100, rng.randint(1, 3)
            subtotal += price * qty
            facts.order_items.append(
                {
                    "order_item_id": new_id(),
                    "order_id": order_id,
                    "menu_item_id": new_id(),
                    "category": ("coffee", "entree", "dessert")[item % 3],
                    "item_name": f"item {item}",
                    "unit_price": price,
                    "qty": qty,
                    "extended_price": price * qty,
                }
            )
        tax = cents(subtotal * Decimal("0.13"))
        tip = cents(subtotal * Decimal(rng.randint(0, 24)) / 100)
        total = subtotal + tax + tip
        facts.orders.append(
            {
                "order_id": order_id,
                "visit_id": new_id(),
                "service_type": rng.choice(("dine_in", "takeout", "delivery")),
                "order_ts": at,
                # The last is a site that analytics.locations does not know.
                "location_code": rng.choice(("LOC-ON-001", "LOC-ON-012", "LOC-ON-099")),
                "subtotal": subtotal if paid else None,
                "tax": tax if paid else None,
                "tip": tip if paid else None,
                "total": total if paid else None,
            }
        )
        if paid:
            facts.payments.append(
                {
                    "payment_id": new_id(),
                    "order_id": order_id,
                    "method": rng.choice(("credit_card", "cash")),
                    "provider": rng.choice(("VISA", None)),
                    "amount": total,
                    "auth_code": rng.choice(("A1B2C3", None)),
                    "processed_at": at + timedelta(minutes=1),
                }
            )
        if rng.random() < 0.5:
            facts.feedback.append(
                {
                    "feedback_id": new_id(),
                    "order_id": order_id,
                    "customer_id": new_id(),
                    "rating": rng.choice((1, 2, 3, 4, 5, None)),
                    "nps": rng.choice((*range(11), None)),
                    "comment": None,
                    "created_ts": at + timedelta(hours=rng.randint(1, 48)),
                    "processed_at": at + timedelta(hours=50),
                }
            )
    return facts
