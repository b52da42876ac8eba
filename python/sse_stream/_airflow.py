"""The one place that imports Airflow, so that versions differ in one file only."""

from __future__ import annotations

import logging

from airflow.exceptions import AirflowException, AirflowFailException
from airflow.hooks.base import BaseHook
from airflow.models import BaseOperator, Variable
from airflow.sensors.base import BaseSensorOperator
from airflow.utils.session import create_session
from sqlalchemy.exc import SQLAlchemyError  # type: ignore[import-untyped]

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "BaseOperator",
    "BaseSensorOperator",
    "ask_variable",
    "get_connection",
    "read_variable",
    "write_variable",
]


def get_connection(conn_id: str) -> object:
    """Return Airflow's connection object for ``conn_id``."""
    return BaseHook.get_connection(conn_id)


def read_variable(name: str) -> str | None:
    """Return the text of an Airflow Variable, or None if it is not set."""
    value = Variable.get(name, default_var=None)
    return None if value is None else str(value)


def ask_variable(name: str) -> str | None:
    """Return the text of an Airflow Variable, or None if it is certain that it is not set.

    Raises:
        ConnectionError: Airflow's metadata database cannot be read. ``read_variable`` would
            log that and return None.
    """
    log = logging.getLogger("airflow.models.variable")
    was_disabled, log.disabled = log.disabled, True
    try:
        value = read_variable(name)
        if value is None:
            with create_session() as session:
                session.query(Variable.key).first()
    except (SQLAlchemyError, AirflowException) as error:
        # The driver's words may quote the address with all that stands in it.
        raise ConnectionError(type(error).__name__) from None
    finally:
        log.disabled = was_disabled
    return value


def write_variable(name: str, value: str) -> None:
    """Set an Airflow Variable."""
    Variable.set(name, value)
