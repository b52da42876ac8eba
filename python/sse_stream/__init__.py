"""Server-sent events into PostgreSQL, exactly once, as Airflow operators.

Importing this package loads no Airflow module and no native code: Airflow looks at
providers before its own configuration is ready, and every DAG parse pays for imports.
Names are resolved at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assets import stream_asset
    from .errors import (
        BadEventError,
        ConfigError,
        DatabaseError,
        OffsetConflictError,
        ProtocolError,
        SchemaError,
        SourceError,
        SourceRejectedError,
        SSEStreamError,
    )
    from .hook import SSEHook
    from .operators import SSEStreamOperator
    from .processors import create_custom_event_processor, event_processor
    from .replay import DeadLetterReplayOperator
    from .routes import Route, Stream
    from .sensors import SSEStreamSensor
    from .triggers import StreamEventTrigger, StreamTrigger

_HOMES = {
    "SSEStreamOperator": "operators",
    "SSEStreamSensor": "sensors",
    "StreamTrigger": "triggers",
    "StreamEventTrigger": "triggers",
    "SSEHook": "hook",
    "stream_asset": "assets",
    "DeadLetterReplayOperator": "replay",
    "Route": "routes",
    "Stream": "routes",
    "event_processor": "processors",
    "create_custom_event_processor": "processors",
    "SSEStreamError": "errors",
    "BadEventError": "errors",
    "SourceError": "errors",
    "SourceRejectedError": "errors",
    "ProtocolError": "errors",
    "DatabaseError": "errors",
    "SchemaError": "errors",
    "OffsetConflictError": "errors",
    "ConfigError": "errors",
}

__all__ = [
    "BadEventError",
    "ConfigError",
    "DatabaseError",
    "DeadLetterReplayOperator",
    "OffsetConflictError",
    "ProtocolError",
    "Route",
    "SSEHook",
    "SSEStreamError",
    "SSEStreamOperator",
    "SSEStreamSensor",
    "SchemaError",
    "SourceError",
    "SourceRejectedError",
    "Stream",
    "StreamEventTrigger",
    "StreamTrigger",
    "create_custom_event_processor",
    "event_processor",
    "stream_asset",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
