"""What a run tells Airflow besides its result: asset events, the state store, metrics.

Only committed numbers are told. A dataset of Airflow 2.11 is an asset here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ._airflow import Asset, AssetAlias, Stats, make_asset, state_store

__all__ = ["announce", "stream_asset"]

_log = logging.getLogger(__name__)

_COUNTERS = ("dead_letters", "duplicates", "gaps", "reconnects")


def stream_asset(stream: str) -> Any:
    """Return the asset (in 2.11 the dataset) of a stream's rows, for ``outlets`` and schedules.

    Its address is ``sse-stream://NAME``. Downstream DAGs run on its events, whose extra holds
    ``stream``, ``shard``, ``first_offset``, ``last_offset``, ``epoch``, ``events``, ``rows`` and
    ``dead_letters``.
    """
    return make_asset(f"sse_stream:{stream}", f"sse-stream://{stream}")


def announce(report: dict[str, Any], context: Any, outlets: Sequence[Any], *, shard: int) -> None:
    """Tell of a finished run.

    Every asset among ``outlets`` gets an event with the run's numbers. An alias gets the stream's
    asset, and only if the run took in events: who waits for the alias is not woken for nothing.

    Counters ``sse_stream.events``, ``sse_stream.rows``, ``sse_stream.dead_letters``,
    ``sse_stream.duplicates``, ``sse_stream.gaps`` and ``sse_stream.reconnects``, and the timer
    ``sse_stream.run``, carry the stream as their tag.
    """
    extra = _extra(report, shard)
    _count(report)
    _tell_assets(extra, context, outlets)
    try:
        for store in state_store(context, (o for o in outlets if isinstance(o, Asset))):
            store.set(f"sse_stream.{extra['stream']}.{shard}", extra)
    except Exception as error:  # noqa: BLE001 (what stands is committed; this only tells of it)
        _log.warning("the asset state store was not written: %s", type(error).__name__)


def _extra(report: dict[str, Any], shard: int) -> dict[str, Any]:
    rows = report.get("rows") or {}
    names = ("stream", "epoch", "first_offset", "last_offset", "dead_letters", "stop_reason")
    return {
        **{name: report.get(name) for name in names},
        "shard": shard,
        "events": report.get("events_processed", 0),
        "rows": dict(rows),
    }


def _tell_assets(extra: dict[str, Any], context: Any, outlets: Sequence[Any]) -> None:
    events = context.get("outlet_events") if context else None
    if events is None:
        return
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            if extra["events"]:
                events[outlet].add(stream_asset(extra["stream"]), extra=extra)
        elif isinstance(outlet, Asset):
            events[outlet].extra = extra


def _count(report: dict[str, Any]) -> None:
    tags = {"stream": str(report.get("stream"))}
    Stats.incr("sse_stream.events", int(report.get("events_processed", 0)), tags=tags)
    Stats.incr("sse_stream.rows", sum((report.get("rows") or {}).values()), tags=tags)
    for name in _COUNTERS:
        Stats.incr(f"sse_stream.{name}", int(report.get(name, 0)), tags=tags)
    # Milliseconds, as StatsD has them.
    Stats.timing("sse_stream.run", float(report.get("execution_time_seconds", 0)) * 1000, tags=tags)
