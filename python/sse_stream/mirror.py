"""The Airflow Variable that mirrors a stream's offset: its name."""

from __future__ import annotations

__all__ = ["variable_name"]


def variable_name(stream: str) -> str:
    """Return the name of the Variable that mirrors the offset of ``stream`` by default."""
    return f"{stream.removesuffix('_stream')}_stream_offset"
