"""``prune``: remove old history. The daily DAG of the restaurant does the same."""

from __future__ import annotations

import argparse

from sse_stream import _native

from . import Outcome
from .database import add_database, database

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "remove old run history and old settled dead letters"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--runs-days", type=int, default=30, metavar="DAYS", help="keep runs so long (30)"
    )
    parser.add_argument(
        "--settled-days",
        type=int,
        default=90,
        metavar="DAYS",
        help="keep dead letters so long after they were replayed or discarded (90); open ones stay",
    )
    add_database(parser)


def run(options: argparse.Namespace) -> Outcome:
    """Remove it."""
    removed = _native.prune(
        database(options), runs_days=options.runs_days, settled_days=options.settled_days
    )
    lines = [f"{each['object_name']}: {each['removed']} {each['unit']} removed" for each in removed]
    return Outcome(removed, lines)
