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

LATE = "feedback_submitted"


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
    # A feed may take its time with feedback; what has not been sent yet is no difference.
    not_yet = [found for found in outcome.differences if found.key == LATE and found.found == 0]
    outcome.differences = [found for found in outcome.differences if found not in not_yet]
    print(outcome.report())
    if not_yet:
        print(f"no {LATE} has been sent yet: the delay of feedback is the generator's setting")
    return 1 if outcome.differences else 0


if __name__ == "__main__":
    sys.exit(main())
