"""OpenLineage: where a run's events came from, which tables they went to, and how many.

The library is imported when Airflow's listener asks; without it nothing here is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .probe import safe_url

__all__ = ["run_lineage"]


def run_lineage(report: Mapping[str, Any], source_url: str, database: Mapping[str, str]) -> Any:
    """Return the lineage of one run.

    The input is the stream (namespace ``https://host:port``, its path the name), each table that
    got rows an output (``postgres://host:port``, ``database.schema.table``) with its row count.
    The run facet ``sseStream`` holds offsets, epoch, dead letters, gaps and how the run ended.
    """
    import attr
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import RunFacet, output_statistics_output_dataset

    @attr.define
    class SSEStreamRunFacet(RunFacet):  # type: ignore[misc]
        stream: str
        epoch: str | None
        first_offset: Any
        last_offset: Any
        events: int
        duplicates: int
        dead_letters: int
        gaps: int
        stop_reason: str

    parts = urlsplit(safe_url(source_url))
    sink = f"postgres://{database.get('host')}:{database.get('port')}"
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    return OperatorLineage(
        inputs=[InputDataset(f"{parts.scheme}://{parts.netloc}", parts.path or "/")],
        outputs=[
            OutputDataset(
                sink,
                f"{database.get('dbname')}.{table}",
                outputFacets={"outputStatistics": statistics(rowCount=rows)},
            )
            for table, rows in (report.get("rows") or {}).items()
        ],
        run_facets={
            "sseStream": SSEStreamRunFacet(
                stream=str(report.get("stream")),
                epoch=report.get("epoch"),
                first_offset=report.get("first_offset"),
                last_offset=report.get("last_offset"),
                events=int(report.get("events_processed", 0)),
                duplicates=int(report.get("duplicates", 0)),
                dead_letters=int(report.get("dead_letters", 0)),
                gaps=int(report.get("gaps", 0)),
                stop_reason=str(report.get("stop_reason")),
            )
        },
    )
