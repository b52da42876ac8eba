"""psycopg 3: a reader thread makes COPY text, the main thread feeds the database.

Replay-safe: text COPY into temporary tables, then `on conflict do nothing`; with `--direct` COPY into
the tables themselves, and the stages only for a batch that violates a key. An order and its payment
in one batch are one row. Text COPY is faster here than psycopg's binary rows. What it leaves out of
what we do: an offset row, dead letters, comparing content, children without parents, and with
`--direct` also any CHECK that fails.
"""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import queue
import threading
from typing import Any

import orjson
import psycopg

from bench import contest
from bench.peers import feed

_RAW = "event_offset, event_id, event_type, ts, partition_key, payload"
TABLES = {
    "raw_data.events_raw": _RAW,
    "analytics.orders": "order_id, visit_id, service_type, order_ts, location_code,"
    " subtotal, tax, tip, total",
    "analytics.order_items": "order_item_id, order_id, menu_item_id, category, item_name,"
    " unit_price, qty, extended_price",
    "analytics.payments": "payment_id, order_id, method, provider, amount, auth_code, processed_at",
    "analytics.feedback": "feedback_id, order_id, customer_id, rating, nps, comment, created_ts,"
    " processed_at",
}
# Payments whose order came in an earlier batch.
LATE = """
update analytics.orders o
set subtotal = s.subtotal, tax = s.tax, tip = s.tip, total = s.total
from stage_late s where o.order_id = s.order_id and o.total is null
"""
Batch = list[bytes]


def escaped(text: str | None) -> str:
    """Return a value of text COPY; only what a guest or a menu can write needs a closer look."""
    if text is None:
        return "\\N"
    if "\\" in text or not text.isprintable():
        for plain, code in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
            text = text.replace(plain, code)
    return text


def build(events: list[bytes], epoch: str) -> Batch:
    """Return COPY text for the five tables and for late payments, in the order of TABLES."""
    raw: list[bytes] = []
    orders: dict[str, str] = {}
    items: list[str] = []
    payments: list[str] = []
    feedback: list[str] = []
    late: list[str] = []
    for data in events:
        event = orjson.loads(data)
        p = event["payload"]
        kind, ts = event["event_type"], event["ts"]
        # The payload is the last member of the envelope: its bytes are there already.
        payload = data[data.index(b'"payload":') + 10 : -1]
        if b"\\" in payload:
            payload = payload.replace(b"\\", b"\\\\")
        head = f"{epoch}{event['offset']}\t{event['event_id']}\t{kind}\t{ts}\t{event['partition_key']}\t"
        raw.append(head.encode() + payload)
        if kind == "order_item_added":
            items.append(
                f"{p['order_item_id']}\t{p['order_id']}\t{p['menu_item_id']}\t{p['category']}\t"
                f"{escaped(p['item_name'])}\t{p['unit_price']}\t{p['qty']}\t{p['extended_price']}"
            )
        elif kind == "order_created":
            orders[p["order_id"]] = (
                f"{p['order_id']}\t{p['visit_id'] or _NULL}\t{p['service_type']}\t{p['order_ts']}\t"
                f"{p['location_code']}\t"
            )
        elif kind == "payment_captured":
            order = p["order_id"]
            money = f"{p['subtotal']}\t{p['tax']}\t{p['tip']}\t{p['total']}"
            if order in orders:
                orders[order] += money
            else:
                late.append(f"{order}\t{money}")
            payments.append(
                f"{p['payment_id']}\t{order}\t{p['method']}\t{p['provider'] or _NULL}\t"
                f"{p['amount']}\t{p['auth_code'] or _NULL}\t{ts}"
            )
        elif kind == "feedback_submitted":
            feedback.append(
                f"{p['feedback_id']}\t{p['order_id']}\t{p['customer_id']}\t{p['rating']}\t"
                f"{p['nps']}\t{escaped(p['comment'])}\t{p['created_ts']}\t{ts}"
            )
    whole = [row + _NO_MONEY if row.endswith("\t") else row for row in orders.values()]
    texts = ["\n".join(rows).encode() for rows in (whole, items, payments, feedback, late)]
    return [b"\n".join(raw), *texts]


_NULL = "\\N"
_NO_MONEY = "\\N\t\\N\t\\N\t\\N"


class Loader:
    """One session with its temporary tables."""

    def __init__(self, url: str, with_epoch: bool, direct: bool) -> None:
        self.session = psycopg.connect(url)
        self.direct = direct
        # Per text of a batch: COPY into the table itself, into its stage, and from there.
        self.steps: list[tuple[str, str, str]] = []
        for table, columns in TABLES.items():
            if with_epoch and table.startswith("raw_data"):
                columns = f"epoch, {columns}"
            stage = f"stage_{table.partition('.')[2]}"
            self.stage(stage, columns, table)
            self.steps.append(
                (
                    f"copy {table} ({columns}) from stdin",
                    f"copy {stage} ({columns}) from stdin",
                    f"insert into {table} ({columns}) select {columns} from {stage}"
                    " on conflict do nothing",
                )
            )
        money = "order_id, subtotal, tax, tip, total"
        self.stage("stage_late", money, "analytics.orders")
        late = f"copy stage_late ({money}) from stdin"
        self.steps.append((late, late, LATE))
        self.session.commit()

    def stage(self, name: str, columns: str, like: str) -> None:
        """Make a temporary table that a commit empties."""
        self.session.execute(
            f"create temp table {name} on commit delete rows as"
            f" select {columns} from {like} with no data"
        )

    def load(self, batch: Batch) -> None:
        """Land one batch in one transaction; what is a replay goes through the stages."""
        if self.direct:
            try:
                self.copy(batch, staged=False)
            except psycopg.errors.UniqueViolation:
                self.session.rollback()
            else:
                return
        self.copy(batch, staged=True)

    def copy(self, batch: Batch, *, staged: bool) -> None:
        """Send all texts of a batch and commit."""
        cursor = self.session.cursor()
        for (into_table, into_stage, insert), text in zip(self.steps, batch, strict=True):
            if text:
                with cursor.copy(into_stage if staged else into_table) as copy:
                    copy.write(text)
                if staged or insert is LATE:
                    cursor.execute(insert)
        self.session.commit()


def main() -> None:
    """Read and build in a thread, load in the main one."""
    parser = contest.arguments(__doc__)
    parser.add_argument("--part", default="0/1", help="K/N: only orders whose hash is K")
    parser.add_argument("--no-epoch", action="store_true", help="the table has no column epoch")
    parser.add_argument("--direct", action="store_true", help="stages only after a violation")
    options = parser.parse_args()
    part, _, parts = options.part.partition("/")
    mine = _Part(int(part), int(parts))
    epoch = "" if options.no_epoch else "bench\t"

    def work() -> dict[str, Any]:
        ready: queue.Queue[Batch | None] = queue.Queue(maxsize=2)

        def read() -> None:
            for events in feed.batches(options.stream, options.events, options.batch * mine.parts):
                ready.put(build(mine.of(events), epoch))
            ready.put(None)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        loader = Loader(options.database, not options.no_epoch, options.direct)
        while (batch := ready.get()) is not None:
            loader.load(batch)
        loader.session.close()
        return {}

    contest.contend(work)


class _Part:
    """The events of one of several processes: every order as a whole, told by its last digit."""

    MARK = b'"order_id":"'

    def __init__(self, part: int, parts: int) -> None:
        self.parts = parts
        self.digits = {
            digit for digit in b"0123456789abcdef" if int(chr(digit), 16) % parts == part
        }

    def of(self, events: list[bytes]) -> list[bytes]:
        if self.parts == 1:
            return events
        return [e for e in events if e[e.index(self.MARK) + len(self.MARK) + 35] in self.digits]


if __name__ == "__main__":
    main()
