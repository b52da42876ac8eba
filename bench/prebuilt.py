"""The ceiling's input: the rows as they stand at the end, cut into transactions, ready to COPY.

A database that has landed the corpus is asked for its rows in the order of the events. Orders are
complete: their payment's money is in them already. Columns that fill themselves (ingested_at,
created_at and the like) are left out, as they are by everybody.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.server import Cluster

PER_TRANSACTION = 5000

# Per table: columns, and how its rows belong to the events.
_KEYED = "join bench_slices s on s.key = t.{key} and s.event_type = '{event}'"
_RAW = "event_offset, event_id, event_type, ts, partition_key, payload"
_FACTS = (
    (
        "analytics.orders",
        "order_id, visit_id, service_type, order_ts, location_code, subtotal, tax, tip, total",
        _KEYED.format(key="order_id", event="order_created"),
    ),
    (
        "analytics.order_items",
        "order_item_id, order_id, menu_item_id, category, item_name, unit_price, qty,"
        " extended_price",
        _KEYED.format(key="order_item_id", event="order_item_added"),
    ),
    (
        "analytics.payments",
        "payment_id, order_id, method, provider, amount, auth_code, processed_at",
        _KEYED.format(key="payment_id", event="payment_captured"),
    ),
    (
        "analytics.feedback",
        "feedback_id, order_id, customer_id, rating, nps, comment, created_ts, processed_at",
        _KEYED.format(key="feedback_id", event="feedback_submitted"),
    ),
)
_OF_EVENT = "join bench_slices s on s.event_offset = t.event_offset"
SCHEMAS = {
    "ours": (("raw_data.events_raw", f"epoch, {_RAW}", _OF_EVENT), *_FACTS),
    "a2": (("raw_data.events_raw", _RAW, _OF_EVENT), *_FACTS),
    "raw_only": (("landing.events", f"epoch, {_RAW}", _OF_EVENT),),
}
# Each session takes whole orders and counts its own transactions.
_SLICES = """
create temp table bench_slices as
select event_offset, event_type, key, session,
    (row_number() over (partition by session order by event_offset) - 1) / {size} as slice
from (
    select event_offset, event_type,
        coalesce(
            payload ->> 'order_item_id', payload ->> 'payment_id', payload ->> 'feedback_id',
            payload ->> 'order_id')::uuid as key,
        abs(hashtext(payload ->> 'order_id')) % {sessions} as session
    from {table}
    where event_offset > {after}
) e
"""


@dataclass(frozen=True)
class Prebuilt:
    """Folders of COPY files: one per session."""

    folders: tuple[Path, ...]


def build(
    cluster: Cluster, database: str, schema: str, sessions: int, folder: Path, after: int = 0
) -> Prebuilt:
    """Write what `schema` is loaded from over so many sessions, out of our landed `database`.

    `after` is the offset behind which the events begin.
    """
    tables = SCHEMAS[schema]
    source = "landing.events" if schema == "raw_only" else "raw_data.events_raw"
    folders = tuple(folder / f"{schema}-{part}-of-{sessions}" for part in range(sessions))
    with closing(cluster.connect(database)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            _SLICES.format(size=PER_TRANSACTION, sessions=sessions, table=source, after=after)
        )
        cursor.execute("create index on bench_slices (session, slice)")
        cursor.execute("analyze bench_slices")
        cursor.execute("select session, max(slice) from bench_slices group by session")
        for session, last in cursor.fetchall():
            home = folders[session]
            # Slices of a longer corpus may lie there.
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            statements = [f"copy {t} ({c}) from stdin (format binary)" for t, c, _ in tables]
            (home / "statements").write_text("\n".join(statements))
            for slice_ in range(last + 1):
                for number, (table, columns, join) in enumerate(tables):
                    picked = ", ".join(f"t.{column.strip()}" for column in columns.split(","))
                    with (home / f"{slice_}.{number}").open("wb") as out:
                        cursor.copy_expert(
                            f"copy (select {picked} from {table} t {join}"
                            f" where s.session = {session} and s.slice = {slice_}"
                            " order by s.event_offset) to stdout (format binary)",
                            out,
                        )
    return Prebuilt(folders)
