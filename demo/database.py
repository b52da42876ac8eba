"""The two databases of the stack: roles and databases from docker/postgres, then the migrations."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg2

from demo.processes import ProcessError, tail
from demo.settings import ROLES, ROOT, Settings

BUSINESS = "restaurant_analytics"
METADATA = "airflow_db"
METADATA_OWNER = "airflow_user"
SCRIPTS = ROOT / "docker" / "postgres"
# In the state folder: the server that it prepared, by the identifier that initdb gave it.
MARKER = "own-server"


class ServerTakenError(Exception):
    """The user's own server holds roles or databases that this state folder did not make."""


@dataclass(frozen=True)
class Databases:
    """Where the server is and with which passwords each role logs in."""

    admin_url: str
    passwords: dict[str, str]

    def url(self, role: str) -> str:
        """Return the URL with which `role` reaches its own database."""
        database = METADATA if role == METADATA_OWNER else BUSINESS
        return self._url(f"{role}:{quote(self.passwords[role], safe='')}", database)

    def without_password(self, role: str) -> str:
        """Return that URL for people to see."""
        return self._url(role, urlsplit(self.url(role)).path.lstrip("/"))

    def admin(self, database: str) -> str:
        """Return the superuser's URL for `database`."""
        user, _, _ = urlsplit(self.admin_url).netloc.rpartition("@")
        return self._url(user, database)

    def sqlalchemy_url(self) -> str:
        """Return Airflow's URL for its metadata, naming the driver."""
        return self.url(METADATA_OWNER).replace("postgresql://", "postgresql+psycopg2://", 1)

    def _url(self, user: str, database: str) -> str:
        parts = urlsplit(self.admin_url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(("postgresql", f"{user}@{host}", f"/{database}", parts.query, ""))


def prepare(settings: Settings, databases: Databases) -> None:
    """Make roles, databases and tables; on a second run this changes nothing.

    Raises ServerTakenError, with nothing changed, where a server of the user's own holds roles or
    databases of these names from elsewhere.
    """
    if settings.database_url is not None:
        _claim(settings, databases)
    _bootstrap(databases)
    log = settings.logs / "migrate.log"
    with log.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-m", "sse_stream", "migrate", "--preset", "restaurant"],
            # From another folder: the package must come from the installed wheel.
            cwd=settings.state,
            env={**os.environ, "DATABASE_URL": databases.url("restaurant_owner")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise ProcessError(f"the migrations ended with code {done.returncode}\n{tail(log)}")


def _claim(settings: Settings, databases: Databases) -> None:
    """Make sure that what the bootstrap would change on the user's own server is ours.

    It sets passwords of roles, and the stack adds to the databases: neither may happen to what
    somebody else made under the same names.
    """
    marker = settings.state / MARKER
    with closing(psycopg2.connect(databases.admin_url)) as connection:
        cursor = connection.cursor()
        cursor.execute("select system_identifier::text from pg_control_system()")
        (identifier,) = cursor.fetchone() or ("",)
        if marker.exists() and marker.read_text() == identifier:
            return
        cursor.execute(
            "select 'database ' || datname from pg_database where datname = any(%s) union all"
            " (select 'role ' || rolname from pg_roles where rolname = any(%s) order by rolname)",
            [[BUSINESS, METADATA], list(ROLES)],
        )
        found = [name for (name,) in cursor.fetchall()]
    if found:
        address = urlsplit(databases.admin_url).netloc.rpartition("@")[2]
        raise ServerTakenError(
            f"the server {address} of DATABASE_URL already holds what {settings.state} did not "
            f"make there: {', '.join(found)}\n"
            "nothing was changed: drop these (databases first) if nobody needs them, "
            "or give the URL of another server"
        )
    # Before the first role is made: a bootstrap that is interrupted must be able to go on.
    marker.write_text(identifier)


def _bootstrap(databases: Databases) -> None:
    """Follow the four steps that docker/postgres/bootstrap.sql describes, short of the last."""
    with closing(psycopg2.connect(databases.admin_url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for role in ROLES:
            name = f"bootstrap.{role}_password"
            cursor.execute("select set_config(%s, %s, false)", [name, databases.passwords[role]])
        cursor.execute((SCRIPTS / "bootstrap.sql").read_text())
        cursor.execute((SCRIPTS / "databases.sql").read_text())
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)
    with closing(psycopg2.connect(databases.admin(BUSINESS))) as connection:
        connection.autocommit = True
        connection.cursor().execute((SCRIPTS / "extensions.sql").read_text())
