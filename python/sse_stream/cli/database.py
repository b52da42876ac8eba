"""Which database a command works on."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from sse_stream.errors import ConfigError
from sse_stream.hooks import airflow_database, environment_database, url_database

from .connections import from_airflow
from .source import secret

__all__ = ["add_database", "database", "database_flags"]


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the database."""
    group = parser.add_argument_group(
        "database",
        "That of --conn-id, of --dsn-file, of --database-url, of DATABASE_URL or of\n"
        "PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, in this order.",
    )
    group.add_argument("--conn-id", metavar="ID", help="Airflow connection of the database")
    group.add_argument(
        "--dsn-file", metavar="FILE", type=Path, help="file with a URL, which may hold a password"
    )
    group.add_argument(
        "--database-url", metavar="URL", help="URL without password; PGPASSWORD holds that"
    )


def database(options: argparse.Namespace) -> str:
    """Return the engine's database settings, as JSON text.

    Raises:
        ConfigError: none is named, or it is named wrongly.
    """
    return json.dumps(_settings(options))


def database_flags(options: argparse.Namespace) -> str:
    """Return the options that name the same database in another command, with a space before."""
    if options.conn_id:
        return f" --conn-id {options.conn_id}"
    if options.dsn_file:
        return f" --dsn-file {options.dsn_file}"
    return f" --database-url {options.database_url}" if options.database_url else ""


def _settings(options: argparse.Namespace) -> dict[str, str]:
    if options.conn_id:
        return from_airflow(options.conn_id, lambda: airflow_database(options.conn_id))
    if options.dsn_file:
        url = secret(options.dsn_file, "the database's URL")
        return url_database(url, where="--dsn-file", password=os.environ.get("PGPASSWORD"))
    if options.database_url:
        if _has_password(options.database_url):
            raise ConfigError(
                "a password on the command line is visible to every user of this machine; "
                "remove it and set PGPASSWORD or DATABASE_URL"
            )
        return url_database(
            options.database_url,
            where="--database-url",
            password=os.environ.get("PGPASSWORD"),
        )
    return environment_database(os.environ)


def _has_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.password) or "password" in dict(parse_qsl(parts.query))
    except ValueError:
        return True
