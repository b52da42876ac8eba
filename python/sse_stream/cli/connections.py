"""Airflow's connections for commands: what is wrong with one is one line, as everything here."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import TypeVar

from sse_stream.errors import ConfigError

__all__ = ["from_airflow"]

T = TypeVar("T")


def from_airflow(conn_id: str, read: Callable[[], T]) -> T:
    """Return what ``read`` makes of a connection of Airflow, without Airflow's own remarks.

    Raises:
        ConfigError: Airflow is not installed here, or knows no such connection.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from sse_stream._airflow import AirflowException
        except ImportError:
            raise ConfigError(
                f"connection {conn_id!r} is one of Airflow, which is not installed here; "
                "name database and source in another way, see --help"
            ) from None
        logging.getLogger("airflow").setLevel(logging.WARNING)
        try:
            return read()
        except AirflowException as error:
            raise ConfigError(
                f"Airflow gives no connection {conn_id!r} ({error}); `airflow connections list` "
                "shows what it has"
            ) from None
