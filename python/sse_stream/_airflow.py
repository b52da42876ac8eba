"""The one place that imports Airflow, so that versions differ in one file only.

Airflow 2.11 and 3.x; where 3.x has what 2.11 does not, the name is here in both and does nothing
in 2.11.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from airflow import __version__ as _version
from airflow.configuration import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

AIRFLOW_3 = int(_version.split(".")[0]) >= 3

if AIRFLOW_3:
    from airflow.sdk import (
        Asset,
        AssetAlias,
        BaseHook,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Variable,
    )
    from airflow.triggers.base import BaseEventTrigger

    try:
        from airflow.sdk.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowSensorTimeout,
            AirflowSkipException,
        )
    except ImportError:  # until 3.1
        from airflow.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowSensorTimeout,
            AirflowSkipException,
        )
    try:
        from airflow.sdk.observability.stats import Stats
    except ImportError:  # until 3.2
        from airflow.stats import Stats
else:
    from airflow.datasets import Dataset as Asset
    from airflow.datasets import DatasetAlias as AssetAlias
    from airflow.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowSensorTimeout,
        AirflowSkipException,
    )
    from airflow.hooks.base import BaseHook
    from airflow.models import BaseOperator, Variable
    from airflow.models.baseoperatorlink import BaseOperatorLink
    from airflow.sensors.base import BaseSensorOperator
    from airflow.stats import Stats
    from airflow.triggers.base import BaseTrigger as BaseEventTrigger

__all__ = [
    "AIRFLOW_3",
    "AirflowException",
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "Asset",
    "AssetAlias",
    "BaseEventTrigger",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "Stats",
    "TriggerEvent",
    "ask_variable",
    "default_deferrable",
    "get_connection",
    "in_thread",
    "link_option",
    "make_asset",
    "pushed_link",
    "read_variable",
    "state_store",
    "write_variable",
]

T = TypeVar("T")


def get_connection(conn_id: str) -> object:
    """Return Airflow's connection object for ``conn_id``."""
    return BaseHook.get_connection(conn_id)


async def in_thread(call: Callable[[], T]) -> T:
    """Run what asks Airflow for connections beside the event loop of a triggerer."""
    result: T = await sync_to_async(call)()
    return result


def default_deferrable() -> bool:
    """Return ``default_deferrable`` of Airflow's section ``operators``."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def read_variable(name: str) -> str | None:
    """Return the text of an Airflow Variable, or None if it is not set."""
    default = {"default": None} if AIRFLOW_3 else {"default_var": None}
    value = Variable.get(name, **default)
    return None if value is None else str(value)


def ask_variable(name: str) -> str | None:
    """Return the text of an Airflow Variable, or None if it is certain that it is not set.

    For processes that may read Airflow's metadata database, as the command line does and tasks of
    Airflow 3 do not.

    Raises:
        ConnectionError: Airflow's metadata database cannot be read. ``read_variable`` would
            log that and return None.
    """
    from airflow.models import Variable as Stored
    from airflow.utils.session import create_session
    from sqlalchemy import select  # type: ignore[import-untyped]
    from sqlalchemy.exc import SQLAlchemyError  # type: ignore[import-untyped]

    log = logging.getLogger("airflow.models.variable")
    was_disabled, log.disabled = log.disabled, True
    try:
        value = Stored.get(name, default_var=None)
        if value is None:
            with create_session() as session:
                session.execute(select(Stored.key).limit(1)).first()
    except (SQLAlchemyError, AirflowException) as error:
        # The driver's words may quote the address with all that stands in it.
        raise ConnectionError(type(error).__name__) from None
    finally:
        log.disabled = was_disabled
    return None if value is None else str(value)


def write_variable(name: str, value: str) -> None:
    """Set an Airflow Variable."""
    Variable.set(name, value)


def make_asset(name: str, uri: str) -> Any:
    """Return an Asset, which is called Dataset in 2.11 and has no name there."""
    return Asset(name=name, uri=uri) if AIRFLOW_3 else Asset(uri)


def state_store(context: Any, assets: Iterable[Any]) -> list[Any]:
    """Return the state stores of ``assets``; none before Airflow 3.3."""
    stores = context.get("asset_state_store") if context else None
    return [] if stores is None else [stores[asset] for asset in assets]


def link_option(option: str) -> str:
    """Return an option of the section ``sse_stream``; an empty text where it is not set."""
    return str(conf.get("sse_stream", option, fallback="") or "")


def pushed_link(ti_key: Any, key: str) -> str:
    """Return the address that a task pushed to XCom, for the web server of Airflow 2.11."""
    from airflow.models import XCom

    return str(XCom.get_value(ti_key=ti_key, key=key) or "")
