"""What stands beside the database: the source, and the Airflow Variable that mirrors the offset.

Both are only looked at, and what is not known is said to be unknown.
"""

from __future__ import annotations

import argparse
import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sse_stream.hooks import airflow_source
from sse_stream.mirror import variable_name
from sse_stream.probe import UnhealthyError, check_url, derive_health_url, fetch_health, safe_url
from sse_stream.shards import Shard
from sse_stream.tokens import authorized

from .connections import from_airflow

__all__ = [
    "Source",
    "Variable",
    "add_shard",
    "add_source",
    "add_variable",
    "look_at_source",
    "look_at_variable",
    "person",
]


@dataclass(frozen=True)
class Source:
    """What the source tells of itself. None: not known, and ``unknown`` says why."""

    url: str | None = None
    epoch: str | None = None
    head: int | None = None
    oldest: int | None = None
    unknown: str | None = None
    reached: bool = False


@dataclass(frozen=True)
class Variable:
    """What the Variable shows. ``text`` is None if it is not set or not known."""

    name: str
    text: str | None = None
    unknown: str | None = None


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the source."""
    group = parser.add_argument_group("source", "Asked for its newest and oldest offset.")
    group.add_argument(
        "--source-url", metavar="URL", help="the stream's URL; its /health is read beside it"
    )
    group.add_argument(
        "--source-conn", metavar="ID", help="Airflow connection of the source (http or https)"
    )
    group.add_argument(
        "--health-url",
        metavar="URL",
        help="JSON with epoch, first_offset and last_offset, where it is not beside the stream",
    )


def add_variable(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the Variable."""
    parser.add_argument(
        "--variable",
        metavar="NAME",
        help="Airflow Variable that mirrors the offset (by default that of the stream's name)",
    )


def add_shard(parser: argparse.ArgumentParser) -> None:
    """Add the option that names one part of a stream."""
    parser.add_argument(
        "--shard", metavar="I/N", help="of a stream that several tasks share: one part, such as 0/2"
    )


def look_at_source(options: argparse.Namespace) -> Source:
    """Ask the source where it stands, if one is named.

    Raises:
        ConfigError: it is named wrongly.
    """
    headers: dict[str, str] = {}
    tls: dict[str, Any] = {}
    url = options.source_url
    if url is None and options.source_conn:
        tls = from_airflow(options.source_conn, lambda: airflow_source(options.source_conn, "/"))
        url, headers = tls.pop("url"), tls.pop("headers")
    health_url = options.health_url or (url and _health_url(check_url(url, "--source-url")))
    if health_url is None:
        if url is None:
            return Source(unknown="no source is named (--source-url)")
        why = f"no /health is known beside {safe_url(url)} (--health-url)"
        return Source(url=safe_url(url), unknown=why)
    shown = safe_url(url or health_url)
    try:
        headers = authorized(headers, tls)
        health = fetch_health(check_url(health_url, "--health-url"), headers=headers, tls=tls)
    except UnhealthyError as error:
        return Source(url=shown, unknown=str(error))
    head = _whole(health, "last_offset")
    epoch = health.get("epoch")
    return Source(
        url=shown,
        epoch=epoch if isinstance(epoch, str) else None,
        head=head,
        oldest=_whole(health, "first_offset"),
        unknown=f"{safe_url(health_url)} tells no last_offset" if head is None else None,
        reached=True,
    )


def look_at_variable(
    options: argparse.Namespace, stream: str, shard: Shard | None = None
) -> Variable:
    """Read the Variable where an Airflow is set up; asking must not set one up."""
    name = options.variable or (shard or Shard()).variable(variable_name(stream))
    if not (options.variable or options.conn_id or _airflow_is_set_up()):
        return Variable(name, unknown="no Airflow is set up here (AIRFLOW_HOME)")
    try:
        from sse_stream._airflow import ask_variable
    except ImportError:
        return Variable(name, unknown="Airflow is not installed here")
    try:
        return Variable(name, text=ask_variable(name))
    except ConnectionError as error:
        return Variable(name, unknown=f"Airflow's database cannot be read ({error})")


def person() -> str:
    """Return who sits here, for the books."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _airflow_is_set_up() -> bool:
    return (
        "AIRFLOW_HOME" in os.environ
        or any(name.startswith(("AIRFLOW__DATABASE__", "AIRFLOW_VAR_")) for name in os.environ)
        or (Path.home() / "airflow" / "airflow.cfg").is_file()
    )


def _health_url(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.path in ("", "/"):
        return urlunsplit(parts._replace(path="/health", query="", fragment=""))
    return url if parts.path.endswith("/health") else derive_health_url(url)


def _whole(health: Mapping[str, Any], name: str) -> int | None:
    value = health.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
