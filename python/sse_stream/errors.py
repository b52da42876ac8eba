"""Every exception this package raises on purpose.

The engine raises these classes itself. ``transient`` says whether the same call may
succeed later; the operator turns the others into a failure without retry.
"""

from __future__ import annotations

__all__ = [
    "BadEventError",
    "ConfigError",
    "DatabaseError",
    "OffsetConflictError",
    "ProtocolError",
    "SSEStreamError",
    "SchemaError",
    "SourceError",
    "SourceRejectedError",
]


class SSEStreamError(Exception):
    """Base of all errors of this package."""

    transient: bool = False


class SourceError(SSEStreamError):
    """The source could not be reached or broke off: connect, reset, 5xx, 429, time-out."""

    transient = True


class SourceRejectedError(SSEStreamError):
    """The source answered and refused: 401, 403, 404, or not an event stream."""


class ProtocolError(SSEStreamError):
    """The stream violates a limit that is enforced strictly."""


class DatabaseError(SSEStreamError):
    """The database could not be reached or interrupted us: connection, shutdown, deadlock."""

    transient = True


class SchemaError(SSEStreamError):
    """A table, column, key, permission or migration is missing; the message names it."""


class OffsetConflictError(SSEStreamError):
    """Another run still owned the stream when the lease time was over."""

    transient = True


class BadEventError(SSEStreamError):
    """Bad events ended the run by policy; what landed before them is kept."""


class ConfigError(SSEStreamError, ValueError):
    """An argument, preset or connection is wrong; the message names it."""
