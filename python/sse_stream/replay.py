"""The operator that tries dead letters again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._airflow import AirflowFailException, BaseOperator
from ._task import engine_log, engine_logger, identity
from .errors import ConfigError, SSEStreamError
from .hooks import airflow_database
from .presets import load_preset
from .processors import EventProcessor, processors_by_type, run_processor
from .shards import Shard

if TYPE_CHECKING:
    from ._native import CursorPort, StopFlag

__all__ = ["DeadLetterReplayOperator"]

_LARGEST = 2**53


class DeadLetterReplayOperator(BaseOperator):
    """Tries dead letters again, once the table, the preset or the processor was mended.

    A letter that lands is marked ``replayed`` in the transaction that lands it, so that it lands
    once however often it is tried; one that does not stays open with its new reason. The
    stream need not be paused: a replay moves no offset and waits for no run. A replayed event
    is an old one: an ``upsert`` route writes its values over newer ones.

    :param postgres_conn_id: Airflow connection of the target database (templated)
    :param preset: which event goes where: name of a shipped preset, or path of your own
    :param stream: name under which the letters are kept, by default the preset's
    :param shard: which part of a stream that several tasks share, as for :class:`SSEStreamOperator`
        (templated)
    :param reasons: only letters with these reason codes, None for all (templated)
    :param event_types: only letters of these types, None for all (templated)
    :param limit: at most so many letters in one run, None for no limit (templated)
    :param include_discarded: also those that were given up
    :param fail_if_left: fail, without retry, if letters stay dead (templated)
    :param event_processors: as for :class:`SSEStreamOperator`; a letter whose type has a
        processor there needs it here
    """

    template_fields: Sequence[str] = (
        "postgres_conn_id",
        "shard",
        "reasons",
        "event_types",
        "limit",
        "fail_if_left",
    )
    ui_color = "#f3e6d8"

    def __init__(
        self,
        *,
        postgres_conn_id: str = "postgres_restaurant",
        preset: str = "restaurant",
        stream: str | None = None,
        shard: str | None = None,
        reasons: Sequence[str] | str | None = None,
        event_types: Sequence[str] | str | None = None,
        limit: int | str | None = 10_000,
        include_discarded: bool = False,
        fail_if_left: bool | str = False,
        event_processors: Mapping[str, EventProcessor] | Iterable[EventProcessor] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.postgres_conn_id = postgres_conn_id
        self.preset = preset
        self.stream = stream
        self.shard = shard
        self.reasons = reasons
        self.event_types = event_types
        self.limit = limit
        self.include_discarded = include_discarded
        self.fail_if_left = fail_if_left
        self.event_processors = processors_by_type(event_processors)
        self._stop: StopFlag | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """Replay and return the counts."""
        from . import _native

        try:
            stop = self._stop = _native.StopFlag()
            done = _native.replay_dead_letters(
                json.dumps(airflow_database(self.postgres_conn_id)),
                json.dumps(self._config(context)),
                host=_Processors(self.event_processors),
                processors=sorted(self.event_processors),
                log=engine_log,
                log_level=engine_logger.getEffectiveLevel(),
                stop=stop,
            )
        except SSEStreamError as error:
            if error.transient:
                raise
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        finally:
            self._stop = None
        self.log.info(
            "%d letters: %d landed, %d had landed before, %d wait for a parent, %d stay dead",
            done["letters"],
            done["landed"],
            done["duplicates"],
            done["waiting"],
            done["unsettled"],
        )
        for reason in [*done["reasons"], *done["skipped"]]:
            self.log.warning("still dead: %s", reason)
        if done["unsettled"] and _truth(self.fail_if_left):
            raise AirflowFailException(
                f"{done['unsettled']} dead letters are still dead; see the reasons above and "
                f"python -m sse_stream dead-letters list --preset {self.preset}"
            )
        return done

    def on_kill(self) -> None:
        """Ask the engine to end after the letters at hand."""
        if self._stop is not None:
            self._stop.set()

    def _config(self, context: Any) -> dict[str, Any]:
        preset, shard = load_preset(self.preset), Shard.parse(self.shard)
        return {
            "preset": preset.toml,
            "stream": shard.stream(self.stream or preset.name),
            "selection": {
                "shard": shard.index,
                "reasons": self._texts("reasons"),
                "event_types": self._texts("event_types"),
                "states": ["open", "discarded"] if self.include_discarded else ["open"],
                "limit": self._limit(),
            },
            "run": identity(context),
        }

    def _texts(self, name: str) -> list[str]:
        value = getattr(self, name)
        if value is None or value in ("", "None"):
            return []
        texts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        try:
            checked = [text for text in texts if isinstance(text, str) and text]
        except TypeError:
            checked = []
        if not checked or len(checked) != len(texts):
            raise ConfigError(f"{name} of task {self.task_id!r} is not a list of texts or None")
        return checked

    def _limit(self) -> int:
        if self.limit is None or self.limit == "None":
            return _LARGEST
        text = str(self.limit)
        if isinstance(self.limit, bool) or not text.isdecimal() or not 0 < int(text) < _LARGEST:
            raise ConfigError(f"limit of task {self.task_id!r} is not a positive number or None")
        return int(text)


class _Processors:
    """What this operator offers to the engine: processors, and no mirror."""

    def __init__(self, processors: Mapping[str, EventProcessor]) -> None:
        self._processors = processors

    def read_mirror(self) -> None:
        return None

    def write_mirror(self, position: int) -> None:
        pass

    def process(self, event_type: str, data: str, cursor: CursorPort) -> None:
        run_processor(self._processors[event_type], data, cursor)


def _truth(value: bool | str) -> bool:
    return str(value).lower() in ("true", "1")
