"""dlt: every event as it came into one table, by its arrow path or by its default.

`arrow` hands dlt whole tables that we decoded, written as CSV and loaded by COPY, appended without a
key; the payload is jsonb as in our table. `default` yields dicts as its own guide does: payloads are
flattened into columns and written by INSERT. dlt's tables have no key and no index in either case: a
replay would store every event twice. Its state about the position is not asked for.
"""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any

HOME = tempfile.TemporaryDirectory(prefix="sse-stream-bench-dlt-")
os.environ.update(
    {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "DLT_DATA_DIR": HOME.name,
        "DLT_PROJECT_DIR": HOME.name,
        # Two cores: more workers only take turns.
        "NORMALIZE__WORKERS": "1",
        "LOAD__WORKERS": "2",
        # Half of its time otherwise.
        "DATA_WRITER__DISABLE_COMPRESSION": "true",
        "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
        "DATA_WRITER__FILE_MAX_ITEMS": "50000",
        "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "false",
    }
)

import dlt  # noqa: E402
import orjson  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.compute as pc  # noqa: E402

from bench import contest  # noqa: E402
from bench.peers import feed  # noqa: E402

ARROW_ROWS = 25_000


def arrow(options: Any) -> Iterator[Any]:
    """Yield tables of decoded envelopes; times are parsed by arrow, the payload stays text."""
    for events in feed.batches(options.stream, options.events, ARROW_ROWS):
        rows = [orjson.loads(data) for data in events]
        times = pa.array([row["ts"][:-1] for row in rows])
        stamps = pc.strptime(pc.utf8_slice_codeunits(times, 0, 19), "%Y-%m-%dT%H:%M:%S", "us")
        micros = pc.cast(pc.utf8_slice_codeunits(times, 20, 26), pa.int64())
        whole = pc.add(pc.cast(stamps, pa.int64()), micros)
        yield pa.table(
            {
                "event_offset": pa.array([row["offset"] for row in rows], pa.int64()),
                "event_id": [row["event_id"] for row in rows],
                "event_type": [row["event_type"] for row in rows],
                "ts": pc.cast(whole, pa.timestamp("us", "UTC")),
                "partition_key": [row["partition_key"] for row in rows],
                "payload": [data[data.index(b'"payload":') + 10 : -1].decode() for data in events],
            }
        )


def default(options: Any) -> Iterator[Any]:
    """Yield lists of events as dicts."""
    for events in feed.batches(options.stream, options.events, options.batch):
        yield [orjson.loads(data) for data in events]


def main() -> None:
    """Run one pipeline."""
    parser = contest.arguments(__doc__)
    parser.add_argument("--path", choices=("arrow", "default"), required=True)
    options = parser.parse_args()
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=HOME.name,
        destination=dlt.destinations.postgres(options.database),
        dataset_name="landing",
    )

    def work() -> dict[str, Any]:
        if options.path == "arrow":
            resource = dlt.resource(
                arrow(options), name="events", columns={"payload": {"data_type": "json"}}
            )
            pipeline.run(resource, write_disposition="append", loader_file_format="csv")
        else:
            resource = dlt.resource(default(options), name="events")
            pipeline.run(resource, write_disposition="append")
        return {}

    contest.contend(work)


if __name__ == "__main__":
    main()
