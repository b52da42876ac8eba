"""The sensor: waits until a stream is there and speaks, or has something for us."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ._airflow import AirflowSensorTimeout, BaseSensorOperator
from .errors import ConfigError
from .hooks import source_settings
from .presets import load_preset
from .probe import (
    UnhealthyError,
    check_headers,
    check_url,
    derive_health_url,
    fetch_health,
    open_stream,
)
from .shards import Shard
from .tokens import authorized
from .triggers import StreamTrigger
from .waits import (
    check_event,
    is_deferrable,
    look,
    no_retry_for_lasting_errors,
    portable_preset,
)

__all__ = ["SSEStreamSensor"]


class SSEStreamSensor(BaseSensorOperator):
    """Waits until a source is healthy, or until it has events that were not ingested yet.

    Healthy means: ``health_url`` answers 200, and ``sse_url`` answers 200 with
    ``text/event-stream`` and a first byte. The sensor reads nothing more and commits nothing.
    A refusal (401, 404, another content type) does not end the waiting, because a source
    that starts up refuses too; the log says at each look what is missing.

    With ``wait_for_events`` it waits until so many events lie behind the committed offset; a
    refusal then fails the task. The offset is only read.

    With ``deferrable`` the waiting is done in the triggerer, after a first look; the health of a
    source is then looked at again when its stream speaks.

    :param sse_url: address of the stream, or with ``sse_conn_id`` its path (templated)
    :param sse_conn_id: Airflow connection (http or https) with the source's address, credentials
        and certificates; see :func:`sse_stream.hooks.airflow_source` (templated)
    :param timeout_seconds: time for one look
    :param health_url: address that must answer 200 (templated); for ``.../stream`` its sibling
        ``/health`` by default, else none
    :param headers: sent with both requests
    :param timeout: time for all looks, in seconds
    :param poke_interval: time between two looks, in seconds
    :param wait_for_events: how many events must wait, 0 for health only (templated)
    :param postgres_conn_id: Airflow connection of the database that holds the offset; needed for
        ``wait_for_events`` only (templated)
    :param preset: the feed's preset, for its conventions and the stream's name
    :param stream: name under which the offset is kept, by default the preset's
    :param shard: which part of the stream, as for :class:`SSEStreamOperator` (templated)
    :param event_types: only events of these types count, None for all
    :param deferrable: wait in the triggerer; by default as Airflow's option ``default_deferrable``
        says, where no ``headers`` are set (they would be stored with the trigger)
    """

    template_fields: Sequence[str] = (
        "sse_url",
        "sse_conn_id",
        "timeout_seconds",
        "health_url",
        "wait_for_events",
        "postgres_conn_id",
        "shard",
    )
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
        wait_for_events: int | str = 0,
        postgres_conn_id: str = "postgres_restaurant",
        preset: Any = "restaurant",
        stream: str | None = None,
        shard: str | None = None,
        event_types: Sequence[str] | None = None,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, poke_interval=poke_interval, **kwargs)
        self.sse_url = sse_url
        self.sse_conn_id = sse_conn_id
        self.timeout_seconds = timeout_seconds
        self.health_url = health_url
        self.headers = check_headers(headers)
        self.wait_for_events = wait_for_events
        self.postgres_conn_id = postgres_conn_id
        self.preset = preset
        self.stream = stream
        self.shard = shard
        self.event_types = list(event_types or ())
        self.deferrable = is_deferrable(deferrable, self.task_id, headers=self.headers)

    def execute(self, context: Any) -> Any:
        """Wait here, or look once and wait in the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        return self._go_on(context, began=time.time(), again=False)

    def execute_complete(self, context: Any, event: Any, began: float) -> None:
        """Take up what the trigger saw; a source that is not healthy for all that is waited on."""
        check_event(event)
        if self._wanted() == 0:
            self._go_on(context, began=began, again=True)

    def poke(self, context: Any) -> bool:
        """Look once; True if what is waited for is there."""
        if self._wanted() == 0:
            return self._is_healthy()
        with no_retry_for_lasting_errors():
            sight = look(self._trigger().config(), seconds=_seconds(self.timeout_seconds))
        if sight is None:
            self.log.info("fewer than %d events wait", self._wanted())
        return sight is not None

    def _go_on(self, context: Any, *, began: float, again: bool) -> None:
        if self.poke(context):
            return
        left = self.timeout - (time.time() - began)
        if left <= 0:
            raise AirflowSensorTimeout(f"the source was not there in {self.timeout:.0f} s")
        self.defer(
            trigger=self._trigger(pause=float(self.poke_interval) if again else 0),
            method_name="execute_complete",
            kwargs={"began": began},
            timeout=timedelta(seconds=left),
        )

    def _trigger(self, pause: float = 0) -> StreamTrigger:
        wanted = self._wanted()
        if wanted == 0:
            return StreamTrigger(
                sse_url=self.sse_url,
                sse_conn_id=self.sse_conn_id,
                events=0,
                pause_seconds=pause,
                patient=True,
            )
        shard = Shard.parse(self.shard)
        return StreamTrigger(
            sse_url=shard.url(self.sse_url),
            sse_conn_id=self.sse_conn_id,
            postgres_conn_id=self.postgres_conn_id,
            stream=shard.stream(self.stream or load_preset(self.preset).name),
            shard=shard.index,
            events=wanted,
            types=self.event_types,
            preset=portable_preset(self.preset),
        )

    def _wanted(self) -> int:
        text = str(self.wait_for_events)
        if not text.isdecimal() or isinstance(self.wait_for_events, bool):
            raise ConfigError("wait_for_events of the sensor is not a whole number")
        return int(text)

    def _is_healthy(self) -> bool:
        seconds = _seconds(self.timeout_seconds)
        source = source_settings(self.sse_url, conn_id=self.sse_conn_id, headers=self.headers)
        sse_url, headers = source.pop("url"), source.pop("headers")
        health_url = self.health_url or derive_health_url(sse_url)
        try:
            headers = authorized(headers, source, timeout_seconds=seconds)
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
