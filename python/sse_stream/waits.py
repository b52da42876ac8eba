"""Deferring: what operator and sensor share on the way into the triggerer and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import errors
from ._airflow import AirflowFailException, default_deferrable
from .errors import ConfigError, SSEStreamError
from .presets import load_preset

__all__ = [
    "check_event",
    "is_deferrable",
    "look",
    "no_retry_for_lasting_errors",
    "portable_preset",
    "preset_text",
]


def portable_preset(preset: Any) -> str:
    """Return a preset as a text that may be stored with a trigger: its name, path or TOML."""
    return preset if isinstance(preset, str) else str(preset.toml)


def preset_text(preset: str) -> str:
    """Return the TOML text of a portable preset."""
    return preset if "\n" in preset else load_preset(preset).toml


def is_deferrable(
    asked: bool | None,
    task_id: str,
    *,
    headers: Mapping[str, str],
    is_stream: bool = True,
    at_once: bool = False,
) -> bool:
    """Return whether a task defers: as asked, else as Airflow's configuration says where it can.

    Raises:
        ConfigError: it was asked for and cannot be.
    """
    obstacle = None
    if headers:
        obstacle = (
            "headers would be stored with the trigger; put them into the connection sse_conn_id"
        )
    elif at_once:
        obstacle = "an interval, and the answer to a body, are read without waiting for events"
    elif not is_stream:
        obstacle = 'only a stream can be waited for; source_kind is "poll"'
    if asked is None:
        return obstacle is None and default_deferrable()
    if asked and obstacle is not None:
        raise ConfigError(f"task {task_id!r} cannot be deferrable: {obstacle}")
    return bool(asked)


def check_event(event: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return what a trigger saw.

    Raises:
        AirflowFailException: an error ended the wait that no retry mends.
        SSEStreamError: one that may be mended by a retry.
    """
    if not event:
        raise AirflowFailException("the trigger came back without an event")
    name = event.get("error")
    if name is None:
        return event
    kind = getattr(errors, str(name), SSEStreamError)
    if kind.transient:
        raise kind(event.get("message"))
    raise AirflowFailException(f"{name}: {event.get('message')}")


@contextmanager
def no_retry_for_lasting_errors() -> Iterator[None]:
    """Turn what no retry mends into Airflow's failure without one."""
    try:
        yield
    except SSEStreamError as error:
        if error.transient:
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error


def look(config: str, *, seconds: float) -> dict[str, Any] | None:
    """Return what a source has now, None if nothing was seen in so many seconds."""
    from . import _native

    return _native.look(config, seconds=seconds)
