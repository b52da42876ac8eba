"""Command line: ``python -m sse_stream migrate|status``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .errors import ConfigError, SSEStreamError
from .hooks import airflow_database, environment_database, url_database
from .presets import load_preset


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 failed, 2 wrong usage)."""
    options = _parser().parse_args(arguments)
    try:
        database = _database(options)
        result = options.command(database, options)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SSEStreamError as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print("\n".join(options.text(result)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sse_stream",
        description="Set up and look at the database of a stream.",
        epilog="The database is that of --conn-id, of --database-url, of DATABASE_URL or of "
        "PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, in this order.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text, summary in (
        ("migrate", _migrate, _migrate_text, "create or update schemas, tables and roles' rights"),
        ("status", _status, _status_text, "show offsets, last runs and dead letters"),
    ):
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.add_argument(
            "--preset",
            metavar="NAME|PATH",
            required=name == "migrate",
            help="the feed: a shipped preset or the folder of your own",
        )
        sub.add_argument("--conn-id", metavar="ID", help="Airflow connection of the database")
        sub.add_argument(
            "--database-url", metavar="URL", help="URL without password; PGPASSWORD holds that"
        )
        sub.add_argument("--json", action="store_true", help="print JSON")
        sub.set_defaults(command=command, text=text)
    return parser


def _database(options: argparse.Namespace) -> dict[str, str]:
    if options.conn_id:
        return airflow_database(options.conn_id)
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


def _migrate(database: dict[str, str], options: argparse.Namespace) -> list[dict[str, Any]]:
    from . import _native

    preset = load_preset(options.preset)
    return _native.migrate(
        json.dumps(database),
        preset.name,
        [(each.version, each.name, each.sql) for each in preset.migrations],
    )


def _migrate_text(applied: list[dict[str, Any]]) -> list[str]:
    lines = [f"applied {each['owner']} {each['version']} {each['name']}" for each in applied]
    return lines or ["nothing to apply: the database is up to date"]


def _status(database: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    from . import _native

    stream = load_preset(options.preset).name if options.preset else None
    return _native.status(json.dumps(database), stream)


def _status_text(status: dict[str, Any]) -> list[str]:
    lines = []
    for part, content in status.items():
        lines.append(f"{part}:")
        rows = content if isinstance(content, list) else [content]
        for row in rows:
            pairs = row.items() if isinstance(row, dict) else [("value", row)]
            lines.append("  " + "  ".join(f"{name}={value}" for name, value in pairs))
        if not rows:
            lines.append("  none")
    return lines


if __name__ == "__main__":
    sys.exit(main())
