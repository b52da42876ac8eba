"""``migrate``: create or update the schemas."""

from __future__ import annotations

import argparse

from sse_stream import _native
from sse_stream.presets import load_preset

from . import Outcome
from .database import add_database, database

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "create or update schemas, tables and roles' rights"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--preset",
        metavar="NAME|PATH",
        help="the feed: a shipped preset or the folder of your own (without: only what every "
        "stream needs)",
    )
    add_database(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Apply what is missing."""
    where = database(options)
    # Without a feed there is no owner, and nothing of one.
    preset = load_preset(options.preset) if options.preset else None
    scripts = preset.migrations if preset else ()
    applied = _native.migrate(
        where,
        preset.name if preset else "",
        [(each.version, each.name, each.sql) for each in scripts],
    )
    lines = [f"applied {each['owner']} {each['version']} {each['name']}" for each in applied]
    return Outcome(applied, lines or ["nothing to apply: the database is up to date"])
