"""Waiting in the triggerer: thousands of streams on one thread, none of whose offsets move.

A trigger holds names of connections only; addresses and credentials are looked up where it runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from ._airflow import BaseEventTrigger, BaseTrigger, TriggerEvent, in_thread
from .errors import ConfigError, SourceRejectedError, SSEStreamError
from .hooks import airflow_database, source_settings
from .waits import preset_text

__all__ = ["StreamEventTrigger", "StreamTrigger"]

# A database that does not answer is asked again with this pause, in seconds, doubled up to the last.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0


class _Wait:
    """What both triggers share: their settings, and one wait."""

    log: Any

    def _keep(self, **settings: Any) -> None:
        self._settings = settings
        self._waiting: asyncio.Future[Any] | None = None
        if "@" in urlsplit(settings["sse_url"]).netloc:
            raise ConfigError(
                "sse_url holds credentials, which would be stored with the trigger; "
                "put them into the connection sse_conn_id"
            )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, none of which is a secret."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", dict(self._settings)

    async def cleanup(self) -> None:
        """Close the connection."""
        if self._waiting is not None:
            self._waiting.cancel()

    def config(self, last_event_id: str | None = None) -> str:
        """Return the engine's settings of this wait, with addresses and credentials."""
        wanted = self._settings
        config: dict[str, Any] = {
            "source": source_settings(wanted["sse_url"], conn_id=wanted["sse_conn_id"], headers={}),
            "events": wanted["events"],
            "types": list(wanted["types"]),
            "last_event_id": last_event_id,
        }
        if wanted["preset"] is not None:
            config["preset"] = preset_text(wanted["preset"])
        if last_event_id is None and wanted["postgres_conn_id"] is not None:
            config["books"] = {
                "database": airflow_database(wanted["postgres_conn_id"]),
                "stream": wanted["stream"],
                "shard": wanted["shard"],
            }
        return json.dumps(config)

    async def _seen(self, last_event_id: str | None = None) -> dict[str, Any]:
        """Wait, through everything that time mends."""
        pause = _FIRST_PAUSE
        while True:
            # The native module, too, is loaded beside the loop, which others share.
            watch, config = await in_thread(lambda: (_watch(), self.config(last_event_id)))
            try:
                self._waiting = asyncio.ensure_future(watch(config))
                sight: dict[str, Any] = await self._waiting
                if sight["seen"] != "end":
                    return sight
                self.log.info("the source has nothing more now; asking again in %.0f s", pause)
            except SSEStreamError as error:
                patient = self._settings.get("patient") and isinstance(error, SourceRejectedError)
                if not (error.transient or patient):
                    raise
                self.log.warning("%s; trying again in %.0f s", error, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _watch() -> Callable[[str], Awaitable[Any]]:
    from . import _native

    return _native.watch


class StreamTrigger(_Wait, BaseTrigger):
    """Fires once, when a stream has something for us.

    :param sse_url: address of the stream, or with ``sse_conn_id`` its path
    :param sse_conn_id: Airflow connection of the source
    :param postgres_conn_id: Airflow connection of the database whose books say from where to look;
        None to look from ``last_event_id``
    :param stream: name under which the offset is kept
    :param shard: which shard of it
    :param events: fire with so many events behind the offset; with 0 at the first sign of life
    :param types: only events of these types count; all do if there are none
    :param preset: name, path or TOML text of the feed's preset, whose conventions are followed;
        another history of the source than the books know fires too
    :param last_event_id: from where to look without a database; None is from now on
    :param pause_seconds: wait so long before the first look
    :param patient: wait on when the source refuses (401, 404, another content type)
    """

    def __init__(
        self,
        *,
        sse_url: str,
        sse_conn_id: str | None = None,
        postgres_conn_id: str | None = None,
        stream: str | None = None,
        shard: int = 0,
        events: int = 1,
        types: Sequence[str] = (),
        preset: str | None = None,
        last_event_id: str | None = None,
        pause_seconds: float = 0,
        patient: bool = False,
    ) -> None:
        super().__init__()
        self._keep(
            sse_url=sse_url,
            sse_conn_id=sse_conn_id,
            postgres_conn_id=postgres_conn_id,
            stream=stream,
            shard=shard,
            events=events,
            types=list(types),
            preset=preset,
            last_event_id=last_event_id,
            pause_seconds=pause_seconds,
            patient=patient,
        )

    async def run(self) -> AsyncIterator[Any]:
        """Wait, fire one event that says what was seen, or which error ended the wait."""
        await asyncio.sleep(self._settings["pause_seconds"])
        try:
            sight = await self._seen(self._settings["last_event_id"])
        except SSEStreamError as error:
            yield TriggerEvent({"error": type(error).__name__, "message": str(error)})
        else:
            yield TriggerEvent(sight)

    async def on_kill(self) -> None:
        """Close the connection; there is nothing else to end, because nothing was begun."""
        await self.cleanup()


class StreamEventTrigger(_Wait, BaseEventTrigger):
    """Fires whenever a stream has something new: the trigger of an Airflow 3 ``AssetWatcher``.

    It begins at the committed offset (or from now on without ``postgres_conn_id``) and fires for
    every ``events`` events it has not fired for, at most once in ``min_seconds``. What it fired
    for is kept in the asset's state store (Airflow 3.3), so that a triggerer which starts again
    does not fire twice. The offset is the runs' own: it is only read, once.

    Arguments as for :class:`StreamTrigger`.
    """

    def __init__(
        self,
        *,
        sse_url: str,
        sse_conn_id: str | None = None,
        postgres_conn_id: str | None = None,
        stream: str | None = None,
        shard: int = 0,
        events: int = 1,
        types: Sequence[str] = (),
        preset: str | None = None,
        min_seconds: float = 60,
    ) -> None:
        super().__init__()
        self._keep(
            sse_url=sse_url,
            sse_conn_id=sse_conn_id,
            postgres_conn_id=postgres_conn_id,
            stream=stream,
            shard=shard,
            events=events,
            types=list(types),
            preset=preset,
            min_seconds=min_seconds,
        )

    async def run(self) -> AsyncIterator[Any]:
        """Fire again and again; an error that waiting does not mend ends the trigger."""
        last = await self._remembered()
        while True:
            sight = await self._seen(last)
            last = sight["last_event_id"] or last
            yield TriggerEvent({"stream": self._settings["stream"], **sight})
            await self._remember(last)
            await asyncio.sleep(self._settings["min_seconds"])

    async def _remembered(self) -> str | None:
        store = getattr(self, "asset_state_store", None)
        value = None if store is None else await store.aget(self._key)
        return None if value is None else str(value)

    async def _remember(self, last: str | None) -> None:
        store = getattr(self, "asset_state_store", None)
        if store is not None and last is not None:
            await store.aset(self._key, last)

    @property
    def _key(self) -> str:
        return "sse_stream.fired_for"
