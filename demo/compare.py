"""`python -m demo.compare`: every row of a running stack compared with what its feed sent.

DATABASE_URL names the database (any role that may read), RESTAURANT_API_URL the generator. Exit code
1 if a row differs, 2 if it cannot be compared.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ
from psycopg2.extras import register_default_jsonb

from demo.oracle import compare


def main() -> int:
    """Compare in one snapshot and print the outcome."""
    try:
        with closing(psycopg2.connect(os.environ["DATABASE_URL"])) as connection:
            connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
            register_default_jsonb(connection, loads=lambda text: text)
            outcome = compare(connection, os.environ["RESTAURANT_API_URL"])
    except (OSError, ValueError, psycopg2.Error) as error:
        print(f"cannot compare: {error}", file=sys.stderr)
        return 2
    print(outcome.report())
    return 1 if outcome.differences else 0


if __name__ == "__main__":
    sys.exit(main())
