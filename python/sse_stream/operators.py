"""The operator: one bounded run of the engine as an Airflow task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._airflow import AirflowFailException, BaseOperator, read_variable, write_variable
from ._task import engine_log, engine_logger, identity
from .assets import announce
from .bounds import check_until, interval_settings, until_settings
from .errors import ConfigError, SSEStreamError
from .hooks import airflow_database, source_settings
from .links import DeadLettersLink, StreamStatusLink, make_links
from .mirror import variable_name
from .presets import Preset, load_preset, raw_preset
from .probe import check_headers, check_url, safe_url
from .processors import EventProcessor, processors_by_type, run_processor
from .shards import Shard
from .triggers import StreamTrigger
from .waits import (
    check_event,
    is_deferrable,
    look,
    no_retry_for_lasting_errors,
    portable_preset,
)

if TYPE_CHECKING:
    from ._native import CursorPort, StopFlag
    from .routes import Stream

__all__ = ["SSEStreamOperator"]

_CHOICES = {
    "source_kind": ("stream", "poll"),
    "unknown_events": ("dead_letter", "raw_only", "ignore"),
    "on_bad_event": ("dead_letter", "fail"),
    "gap_policy": ("warn", "fail"),
}
_PROGRESS_SECONDS = 5.0
# Far above any use, and still a number that every part of the engine can hold.
_LARGEST = 2**53
_DERIVED = "derived"
# Each is a database session; more of them than a server has cores only wait for each other.
_MOST_WRITERS = 64
# About a minute of back-off; then the task fails and Airflow's retries decide.
_CONNECT_ATTEMPTS = 8
# How long a deferrable task looks for events itself before it leaves that to the triggerer.
_LOOK_SECONDS = 1.0
# Waiting for the previous run is normal; it is given its own time plus this.
_LEASE_MARGIN_SECONDS = 60.0


class SSEStreamOperator(BaseOperator):
    """Moves events of a stream into PostgreSQL until a limit is reached, exactly once.

    Rows, dead letters and the offset are committed in one transaction per batch; a retry or
    the next run resumes behind the last committed event. Where two runs of one stream
    overlap, the later waits and takes over.

    :param sse_url: address of the stream, or with ``sse_conn_id`` its path (templated)
    :param sse_conn_id: Airflow connection (http or https) with the source's address, credentials
        and certificates; see :func:`sse_stream.hooks.airflow_source` (templated)
    :param postgres_conn_id: Airflow connection of the target database (templated)
    :param max_events_per_run: exact number of events after which the run ends, None for no
        limit (templated)
    :param timeout_seconds: run time in seconds, counted from when the stream is ours, None for
        no limit (templated)
    :param batch_size: number of events at which a batch becomes due
    :param event_processors: functions ``(cursor, event, payload)`` that replace the routes of an
        event type: a dict by type, or a list of functions marked with ``@event_processor``
    :param preset: which event goes where: name of a shipped preset, path of your own, or a
        :class:`sse_stream.Stream`; by default ``restaurant``, unless ``table`` is given
    :param table: ``schema.table`` that takes every event as it came, beside the routes of the
        preset if there are any (templated)
    :param auto_create: create ``table``, its schema and the engine's own tables where they are
        missing; without it the error says how to create it
    :param stream: name under which the offset is kept, by default the preset's
    :param source_kind: ``stream`` for server-sent events, ``poll`` for the feed's REST pages
    :param headers: sent with every request; credentials belong into the connection
    :param method: of the request, ``POST`` by default where there is a ``body``, else ``GET``
    :param body: sent with every request: a text, or what becomes JSON (templated)
    :param compression: whether the source may compress the stream (gzip, br, zstd); one that does
        not flush after each event holds events back
    :param offset_variable: Airflow Variable that mirrors the offset, derived from the stream's
        name by default (``restaurant_stream_offset``), None for none. Setting the Variable by
        hand asks for a rewind, once.
    :param writers: database sessions that write at once; the events are shared out by the preset's
        ``split``, and a stream whose events depend on each other beyond that (routes without a key,
        upserts by another key, event processors, ``on_bad_event="fail"``) has one, which the log says
    :param linger_ms: a batch becomes due at the latest so many milliseconds after its first event
    :param max_batch_bytes: bound on the memory of the batches that are being filled; as much again
        is being committed
    :param idle_timeout_seconds: end the run after this time without an event, None for never
    :param until: end before the first event of this time or later, by the preset's ``time`` (ISO 8601
        with an offset from UTC, or a datetime), or behind this offset (a whole number); what follows
        is the next run's. Where such a time has passed by the clock, the run also ends when the source
        has told all it has (templated)
    :param drain: end when the source has told all it has: at the newest offset that its response
        names (the preset's ``head_header``), or when it gives a sign of life half a second after its
        last event, or nothing for three seconds
    :param interval_mode: read the events of the DAG run's data interval, by the preset's ``time``,
        each run as a stream with an offset of its own: a retry goes on where it died, a run that was
        cleared finds its rows there, and backfills may run side by side. It begins at the interval's
        start where the feed can be asked for a time (the preset's ``since``), else with the oldest
        that the source has; it ends as ``until`` does, and fails for a retry if a limit ends it before.
        What can be promised is the feed's resume class: ``replayable`` gives every interval whole,
        ``window`` those that the source still has (what is gone is not noticed), and ``none`` is
        refused, since nothing can be read again
    :param unknown_events: ``dead_letter``, ``raw_only`` or ``ignore``: events no route names
    :param on_bad_event: ``dead_letter`` keeps a bad event with the reason and goes on; ``fail``
        keeps what came before it, fails without a retry and meets it again next time
    :param max_dead_letters: fail the run, keeping what landed, when it leaves more than this many
        dead letters (an int), or more than this share of its events (a float below 1)
    :param max_wait_hours: how long a child may wait for its parent in ``sse_stream.waiting`` before
        it becomes a dead letter
    :param backfill_url: the feed's REST pages, laid out as the preset's ``[stream.pages]`` says, with
        the same filters as the stream: offsets that the stream passed over are fetched there, and
        land exactly once; headers and client certificate go along only to the stream's own origin; None leaves them in ``sse_stream.gaps``.
        They come on top of ``max_events_per_run`` (templated)
    :param gap_policy: ``warn``, or ``fail`` the run, keeping what landed, for a gap that is not
        repaired
    :param lease_timeout_seconds: how long to wait for another run to give up the stream; by
        default the run time plus a minute
    :param shard: ``i/n``: read only the i-th of n parts, counted from 0, by adding ``shard=i/n`` to
        the address of a source that offers it; each part has an offset and a Variable of its own,
        so that ``partial(...).expand(shard=["0/2", "1/2"])`` reads them side by side (templated)
    :param deferrable: wait in the triggerer, without a worker slot, until events wait behind the
        committed offset, then run; by default as Airflow's option ``default_deferrable`` says,
        where there are no ``headers`` (they would be stored with the trigger)

    Assets among ``outlets`` get an event with the run's numbers, see :func:`sse_stream.stream_asset`.
    """

    template_fields: Sequence[str] = (
        "sse_url",
        "sse_conn_id",
        "postgres_conn_id",
        "max_events_per_run",
        "timeout_seconds",
        "backfill_url",
        "shard",
        "body",
        "until",
        "table",
    )
    operator_extra_links = (StreamStatusLink(), DeadLettersLink())
    ui_color = "#f3e6d8"

    def __init__(
        self,
        *,
        sse_url: str,
        sse_conn_id: str | None = None,
        postgres_conn_id: str = "postgres_restaurant",
        max_events_per_run: int | str | None = 1000,
        timeout_seconds: float | str | None = 60,
        batch_size: int = 100,
        event_processors: Mapping[str, EventProcessor] | Iterable[EventProcessor] | None = None,
        preset: str | Path | Stream | None = None,
        table: str | None = None,
        auto_create: bool = False,
        stream: str | None = None,
        source_kind: str = "stream",
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        body: str | Mapping[str, Any] | Sequence[Any] | None = None,
        compression: bool = False,
        offset_variable: str | None = _DERIVED,
        writers: int = 2,
        linger_ms: int = 5,
        max_batch_bytes: int = 6 << 20,
        idle_timeout_seconds: float | None = None,
        until: str | int | datetime | None = None,
        drain: bool = False,
        interval_mode: bool = False,
        unknown_events: str = "dead_letter",
        on_bad_event: str = "dead_letter",
        max_dead_letters: int | float | None = None,
        max_wait_hours: float = 24,
        backfill_url: str | None = None,
        gap_policy: str = "warn",
        lease_timeout_seconds: float | None = None,
        shard: str | None = None,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sse_url = sse_url
        self.sse_conn_id = sse_conn_id
        self.postgres_conn_id = postgres_conn_id
        self.max_events_per_run = max_events_per_run
        self.timeout_seconds = timeout_seconds
        self.batch_size = batch_size
        self.event_processors = processors_by_type(event_processors)
        if preset is None and table is None:
            preset = "restaurant"
        self.preset = str(preset) if isinstance(preset, Path) else preset
        self.table = table
        self.auto_create = auto_create
        self.stream = stream
        self.source_kind = source_kind
        self.headers = check_headers(headers)
        self.method = method
        self.body = body
        self.compression = compression
        self.offset_variable = offset_variable
        self.writers = writers
        self.linger_ms = linger_ms
        self.max_batch_bytes = max_batch_bytes
        self.idle_timeout_seconds = idle_timeout_seconds
        self.until = check_until(until)
        self.drain = drain
        self.interval_mode = interval_mode
        self.unknown_events = unknown_events
        self.on_bad_event = on_bad_event
        self.max_dead_letters = max_dead_letters
        self.max_wait_hours = max_wait_hours
        self.backfill_url = backfill_url
        self.gap_policy = gap_policy
        self.lease_timeout_seconds = lease_timeout_seconds
        self.shard = shard
        self.deferrable = is_deferrable(
            deferrable,
            self.task_id,
            headers=self.headers,
            is_stream=source_kind == "stream",
            at_once=interval_mode or body is not None,
        )
        self.stream_links: dict[str, str] = {}
        self._ran: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._stop: StopFlag | None = None
        # What is wrong already is said when the DAG is parsed; templates are checked at start.
        for name in ("max_events_per_run", "timeout_seconds"):
            if not _is_template(getattr(self, name)):
                self._settings_number(name)
        self._check()

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the engine and return its report; deferrable, once there is something to read."""
        if self.deferrable:
            with no_retry_for_lasting_errors():
                trigger = self._trigger()
                sight = look(trigger.config(), seconds=_LOOK_SECONDS)
            if sight is None:
                self.defer(
                    trigger=trigger,
                    method_name="execute_complete",
                    timeout=self.execution_timeout,
                )
        return self._run(context)

    def execute_complete(self, context: Any, event: Any) -> dict[str, Any]:
        """Run the engine on what the trigger saw, and return its report."""
        check_event(event)
        return self._run(context)

    def _run(self, context: Any) -> dict[str, Any]:
        from . import _native

        try:
            stop = self._stop = _native.StopFlag()
            config = self._config(context)
            variable = self._variable(config["stream"])
            shard = config["shard"]
            self.stream_links = make_links(context, stream=config["stream"], shard=shard)
            self.log.info(
                "stream %r: %s into connection %r",
                config["stream"],
                safe_url(config["source"]["url"]),
                self.postgres_conn_id,
            )
            report = _native.run(
                json.dumps(config),
                host=_Host(variable, self.event_processors),
                processors=sorted(self.event_processors),
                mirror=variable is not None,
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
            "%d events in %d batches, ended by %s at offset %s",
            report["events_processed"],
            report["batches_processed"],
            report["stop_reason"],
            report["position"],
        )
        self._ran = (report, config)
        announce(report, context, self.outlets or [], shard=shard)
        return report

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what Airflow's OpenLineage listener asks for, None if nothing ran here."""
        from .lineage import run_lineage

        if self._ran is None:
            return None
        report, config = self._ran
        return run_lineage(report, config["source"]["url"], config["database"])

    def on_kill(self) -> None:
        """Ask the engine to end at a committed offset."""
        if self._stop is not None:
            self._stop.set()

    def _config(self, context: Any) -> dict[str, Any]:
        preset = self._preset()
        shard = Shard.parse(self.shard)
        timeout = self._settings_number("timeout_seconds")
        lease = self.lease_timeout_seconds
        if lease is None:
            lease = (timeout or _LEASE_MARGIN_SECONDS * 4) + _LEASE_MARGIN_SECONDS
        stream = shard.stream(preset.name if self.stream is None else self.stream)
        return {
            "source": {
                **source_settings(
                    shard.url(self.sse_url), conn_id=self.sse_conn_id, headers=self._headers()
                ),
                **self._request(),
                "kind": self.source_kind,
                "max_attempts": _CONNECT_ATTEMPTS,
            },
            "database": airflow_database(self.postgres_conn_id),
            "preset": preset.toml,
            "raw_table": self._raw_table(),
            "stream": stream,
            "shard": shard.index,
            "max_events": self._settings_number("max_events_per_run"),
            "timeout_seconds": timeout,
            "idle_timeout_seconds": self.idle_timeout_seconds,
            "drain": self.drain,
            **until_settings(self.until),
            **(interval_settings(context, stream) if self.interval_mode else {}),
            "batch_events": self.batch_size,
            "writers": self.writers,
            "linger_ms": self.linger_ms,
            "max_batch_bytes": self.max_batch_bytes,
            "unknown_events": self.unknown_events,
            "on_bad_event": self.on_bad_event,
            **self._dead_letter_limit(),
            "backfill_url": self._twin(),
            "gap_policy": self.gap_policy,
            "max_wait_seconds": self.max_wait_hours * 3600,
            "lease_timeout_seconds": lease,
            "progress_seconds": _PROGRESS_SECONDS,
            "run": identity(context),
        }

    def _preset(self) -> Preset:
        return raw_preset(self.table or "") if self.preset is None else load_preset(self.preset)

    def _raw_table(self) -> dict[str, Any] | None:
        return None if self.table is None else {"table": self.table, "create": self.auto_create}

    def _twin(self) -> str | None:
        url = self.backfill_url
        return None if url is None else check_url(url, "backfill_url")

    def _dead_letter_limit(self) -> dict[str, Any]:
        if self.max_dead_letters is None:
            return {}
        share = isinstance(self.max_dead_letters, float)
        return {"max_dead_letter_share" if share else "max_dead_letters": self.max_dead_letters}

    def _trigger(self) -> StreamTrigger:
        shard, preset = Shard.parse(self.shard), self._preset()
        return StreamTrigger(
            sse_url=shard.url(self.sse_url),
            sse_conn_id=self.sse_conn_id,
            postgres_conn_id=self.postgres_conn_id,
            stream=shard.stream(preset.name if self.stream is None else self.stream),
            shard=shard.index,
            preset=portable_preset(preset if self.preset is None else self.preset),
        )

    def _headers(self) -> dict[str, str]:
        if self.body is None or isinstance(self.body, str):
            return self.headers
        if any(name.lower() == "content-type" for name in self.headers):
            return self.headers
        return {"Content-Type": "application/json", **self.headers}

    def _request(self) -> dict[str, Any]:
        request: dict[str, Any] = {"compression": self.compression}
        if self.body is not None:
            text = self.body if isinstance(self.body, str) else json.dumps(self.body)
            request.update(method="POST", body=text)
        if self.method is not None:
            request["method"] = self.method
        return request

    def _variable(self, stream: str) -> str | None:
        # Nobody looks for the offset of an interval, and there is one for each.
        if self.interval_mode:
            return None
        shard = Shard.parse(self.shard)
        if self.offset_variable is None:
            return None
        if self.offset_variable != _DERIVED:
            return shard.variable(self.offset_variable)
        return shard.variable(variable_name(stream.rpartition("/")[0] if shard.of else stream))

    def _settings_number(self, name: str) -> float | int | None:
        value = getattr(self, name)
        if value is None or value == "None":
            return None
        whole = name == "max_events_per_run"
        try:
            number = int(value) if whole else float(value)
            if whole and not isinstance(value, str) and number != value:
                number = -1
        except (TypeError, ValueError, OverflowError):
            number = -1
        if isinstance(value, bool) or not 0 < number < _LARGEST:
            kind = "a positive whole number" if whole else "a positive number of seconds"
            raise ConfigError(f"{name} of task {self.task_id!r} is not {kind} or None")
        return number

    def _check(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"{name} of task {self.task_id!r} is not one of {', '.join(choices)}"
                )
        for name, (is_right, wanted) in _KINDS.items():
            if not is_right(getattr(self, name)):
                raise ConfigError(f"{name} of task {self.task_id!r} is not {wanted}")
        if self.interval_mode and self.until is not None:
            raise ConfigError(f"task {self.task_id!r} has both until and interval_mode; remove one")


class _Host:
    """What Airflow offers to a run."""

    def __init__(self, variable: str | None, processors: Mapping[str, EventProcessor]) -> None:
        self._variable = variable
        self._processors = processors

    def read_mirror(self) -> str | None:
        return read_variable(self._variable) if self._variable else None

    def write_mirror(self, position: int) -> None:
        if self._variable:
            write_variable(self._variable, str(position))

    def process(self, event_type: str, data: str, cursor: CursorPort) -> None:
        run_processor(self._processors[event_type], data, cursor)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST


def _is_limit(value: Any) -> bool:
    if isinstance(value, float):
        return 0 <= value < 1
    return value is None or (value == 0 and value is not False) or _is_count(value)


def _is_count_of_writers(value: Any) -> bool:
    return _is_count(value) and value <= _MOST_WRITERS


def _is_positive(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < value < _LARGEST


def _is_positive_or_none(value: Any) -> bool:
    return value is None or _is_positive(value)


def _is_name_or_none(value: Any) -> bool:
    is_name = isinstance(value, str) and bool(value.strip()) and value.isprintable()
    return value is None or is_name


def _is_word_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.isalpha() and value.isascii())


def _is_body(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return True
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, (dict, list, tuple))


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "batch_size": (_is_count, "a positive whole number"),
    "writers": (_is_count_of_writers, f"a whole number from 1 to {_MOST_WRITERS}"),
    "linger_ms": (_is_count, "a positive whole number"),
    "max_batch_bytes": (_is_count, "a positive whole number"),
    "max_dead_letters": (_is_limit, "a whole number, a share below 1.0 or None"),
    "max_wait_hours": (_is_positive, "a positive number of hours"),
    "idle_timeout_seconds": (_is_positive_or_none, "a positive number of seconds or None"),
    "lease_timeout_seconds": (_is_positive_or_none, "a positive number of seconds or None"),
    "backfill_url": (_is_name_or_none, "a text of printable characters or None"),
    "method": (_is_word_or_none, "the name of an HTTP method or None"),
    "body": (_is_body, "a text, or what JSON can hold, or None"),
    "compression": (_is_truth, "True or False"),
    "drain": (_is_truth, "True or False"),
    "interval_mode": (_is_truth, "True or False"),
    "table": (_is_name_or_none, "a text of printable characters or None"),
    "auto_create": (_is_truth, "True or False"),
    "stream": (_is_name_or_none, "a text of printable characters or None"),
    "offset_variable": (_is_name_or_none, "a text of printable characters or None"),
}


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and "{" in value
