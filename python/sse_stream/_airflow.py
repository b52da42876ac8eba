"""The one place that imports Airflow, so that versions differ in one file only."""

from __future__ import annotations

from airflow.exceptions import AirflowException, AirflowFailException
from airflow.hooks.base import BaseHook
from airflow.models import BaseOperator, Variable
from airflow.sensors.base import BaseSensorOperator

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "BaseOperator",
    "BaseSensorOperator",
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


def write_variable(name: str, value: str) -> None:
    """Set an Airflow Variable."""
    Variable.set(name, value)
