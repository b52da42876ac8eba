"""psycopg2, a statement per row: an operator of the original's kind.

Lines of a response by requests, one INSERT per table and event, every one `on conflict do nothing`,
one transaction per batch. Its own setting was a transaction per 50 events; 1,000 is faster.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg2
import requests

from bench import contest

BATCH = 1000
RAW = """
insert into raw_data.events_raw (event_offset, event_id, event_type, ts, partition_key, payload)
values (%s, %s, %s, %s, %s, %s) on conflict (event_offset) do nothing
"""
ORDER = """
insert into analytics.orders (order_id, visit_id, service_type, order_ts, location_code)
values (%(order_id)s, %(visit_id)s, %(service_type)s, %(order_ts)s, %(location_code)s)
on conflict (order_id) do nothing
"""
ITEM = """
insert into analytics.order_items
    (order_item_id, order_id, menu_item_id, category, item_name, unit_price, qty, extended_price)
values (%(order_item_id)s, %(order_id)s, %(menu_item_id)s, %(category)s, %(item_name)s,
    %(unit_price)s, %(qty)s, %(extended_price)s)
on conflict (order_item_id) do nothing
"""
MONEY = """
update analytics.orders set subtotal = %(subtotal)s, tax = %(tax)s, tip = %(tip)s,
    total = %(total)s, updated_at = now()
where order_id = %(order_id)s
"""
PAYMENT = """
insert into analytics.payments (payment_id, order_id, method, provider, amount, auth_code)
values (%(payment_id)s, %(order_id)s, %(method)s, %(provider)s, %(amount)s, %(auth_code)s)
on conflict (payment_id) do nothing
"""
FEEDBACK = """
insert into analytics.feedback
    (feedback_id, order_id, customer_id, rating, nps, comment, created_ts)
values (%(feedback_id)s, %(order_id)s, %(customer_id)s, %(rating)s, %(nps)s, %(comment)s,
    %(created_ts)s)
on conflict (feedback_id) do nothing
"""
STATEMENTS = {
    "order_created": (ORDER,),
    "order_item_added": (ITEM,),
    "payment_captured": (MONEY, PAYMENT),
    "feedback_submitted": (FEEDBACK,),
}


def store(session: Any, events: list[dict[str, Any]]) -> None:
    """Write one batch in one transaction."""
    with session.cursor() as cursor:
        for event in events:
            cursor.execute(
                RAW,
                (
                    event["offset"],
                    event["event_id"],
                    event["event_type"],
                    event["ts"],
                    event["partition_key"],
                    json.dumps(event["payload"]),
                ),
            )
        for event in events:
            for statement in STATEMENTS[event["event_type"]]:
                cursor.execute(statement, event["payload"])
    session.commit()


def main() -> None:
    """Read lines, keep those with data, store when a batch is full."""
    options = contest.arguments(__doc__).parse_args()

    def work() -> dict[str, Any]:
        session = psycopg2.connect(options.database)
        batch: list[dict[str, Any]] = []
        left = options.events
        with requests.get(options.stream, stream=True, timeout=60) as response:
            for line in response.iter_lines(chunk_size=64 << 10):
                if not line.startswith(b"data: "):
                    continue
                batch.append(json.loads(line[6:]))
                left -= 1
                if len(batch) == BATCH or left == 0:
                    store(session, batch)
                    batch = []
                if left == 0:
                    break
        session.close()
        return {}

    contest.contend(work)


if __name__ == "__main__":
    main()
