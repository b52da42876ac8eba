"""The sensor: waits until a stream is there and speaks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ._airflow import BaseSensorOperator
from .errors import ConfigError
from .hooks import source_settings
from .probe import (
    UnhealthyError,
    check_headers,
    check_url,
    derive_health_url,
    fetch_health,
    open_stream,
)

__all__ = ["SSEStreamSensor"]


class SSEStreamSensor(BaseSensorOperator):
    """Waits until a source is healthy.

    Healthy means: ``health_url`` answers 200, and ``sse_url`` answers 200 with
    ``text/event-stream`` and a first byte. The sensor reads nothing more and commits nothing.
    A refusal (401, 404, another content type) does not end the waiting, because a source
    that starts up refuses too; the log says at each look what is missing.

    :param sse_url: address of the stream, or with ``sse_conn_id`` its path (templated)
    :param sse_conn_id: Airflow connection (http or https) with the source's address, credentials
        and certificates; see :func:`sse_stream.hooks.airflow_source` (templated)
    :param timeout_seconds: time for one look
    :param health_url: address that must answer 200 (templated); for ``.../stream`` its sibling
        ``/health`` by default, else none
    :param headers: sent with both requests
    :param timeout: time for all looks, in seconds
    :param poke_interval: time between two looks, in seconds
    """

    template_fields: Sequence[str] = ("sse_url", "sse_conn_id", "timeout_seconds", "health_url")
    ui_color = "#d8ecf3"

    def __init__(
        self,
        *,
        sse_url: str,
        sse_conn_id: str | None = None,
        timeout_seconds: float | str = 10,
        health_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 300,
        poke_interval: float = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, poke_interval=poke_interval, **kwargs)
        self.sse_url = sse_url
        self.sse_conn_id = sse_conn_id
        self.timeout_seconds = timeout_seconds
        self.health_url = health_url
        self.headers = check_headers(headers)

    def poke(self, context: Any) -> bool:
        """Look once; True if the source is healthy."""
        seconds = _seconds(self.timeout_seconds)
        source = source_settings(self.sse_url, conn_id=self.sse_conn_id, headers=self.headers)
        sse_url, headers = source.pop("url"), source.pop("headers")
        health_url = self.health_url or derive_health_url(sse_url)
        try:
            if health_url:
                check_url(health_url, "health_url")
                fetch_health(health_url, headers=headers, tls=source, timeout_seconds=seconds)
            open_stream(sse_url, headers=headers, tls=source, timeout_seconds=seconds)
        except UnhealthyError as reason:
            self.log.info("not healthy yet: %s", reason)
            return False
        self.log.info("the source is healthy")
        return True


def _seconds(value: float | str) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError("timeout_seconds of the sensor is not a positive number")
    return seconds
