"""The one-shot service `airflow-init`: Airflow's tables, the admin, two connections, the Variable.

Running it again changes nothing but the connections, which follow the environment. The Variable is
made only where it is missing: it mirrors the offset, and overwriting it would ask for a rewind.
"""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urlsplit

VARIABLE = "restaurant_stream_offset"


def main() -> int:
    """Prepare Airflow and return the exit code."""
    airflow("db", "migrate")
    name = os.environ["AIRFLOW_ADMIN_USER"]
    first, last = os.environ["AIRFLOW_ADMIN_FIRSTNAME"], os.environ["AIRFLOW_ADMIN_LASTNAME"]
    password = os.environ["AIRFLOW_ADMIN_PASSWORD"]
    # One who is there already is reported and left alone. The password is asked for twice.
    airflow(
        *("users", "create", "--role", "Admin", "--username", name),
        *("--firstname", first, "--lastname", last),
        *("--email", os.environ["AIRFLOW_ADMIN_EMAIL"]),
        answer=f"{password}\n{password}\n",
    )
    connections_and_variable()
    return 0


def airflow(*arguments: str, answer: str = "") -> None:
    """Run one command of Airflow; end this program if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        input=answer,
        text=True,
        start_new_session=True,  # no terminal to ask the password on
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"airflow {' '.join(arguments[:2])} ended with code {done.returncode}")


def connections_and_variable() -> None:
    """Write both connections; make the Variable if it is missing."""
    from airflow.models import Connection, Variable
    from airflow.utils.session import create_session
    from cryptography.fernet import InvalidToken

    api = urlsplit(os.environ["RESTAURANT_API_URL"])
    wanted = {
        "postgres_restaurant": {
            "conn_type": "postgres",
            "host": os.environ["PGHOST"],
            "port": 5432,
            "schema": "restaurant_analytics",
            "login": "restaurant_user",
            "password": os.environ["RESTAURANT_DB_PASSWORD"],
        },
        "restaurant_api": {
            "conn_type": "http",
            "host": api.hostname,
            "port": api.port,
            "schema": api.scheme,
            "login": None,
            "password": None,
        },
    }
    with create_session() as session:
        for conn_id, values in wanted.items():
            try:
                found = session.query(Connection).filter_by(conn_id=conn_id).one_or_none()
            except InvalidToken:
                sys.exit(
                    f"connection {conn_id}: AIRFLOW_FERNET_KEY is not the one it was stored with; to"
                    " change it give both as NEW,OLD (docs/runbook.md, Passwords)"
                )
            connection = found or Connection(conn_id=conn_id)
            for field, value in values.items():
                setattr(connection, field, value)
            session.add(connection)
            print(f"connection {conn_id}: {'kept up to date' if found else 'made'}")
        if session.query(Variable).filter(Variable.key == VARIABLE).one_or_none() is None:
            Variable.set(VARIABLE, "0", session=session)
            print(f"Variable {VARIABLE}: made")


if __name__ == "__main__":
    sys.exit(main())
