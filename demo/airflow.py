"""Airflow for one machine: scheduler, web server and triggerer, configured by environment only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg2

from demo import ports
from demo.database import Databases
from demo.processes import ProcessError, tail
from demo.settings import ADMIN, ROOT, Settings

PROGRAMS = ("scheduler", "triggerer", "webserver")
# The process title of a running task; the scheduler would wait for such a task to its end.
TASK_TITLE = "airflow task"
OFFSET_VARIABLE = "restaurant_stream_offset"


def environment(settings: Settings, databases: Databases) -> dict[str, str]:
    """Return the whole environment of an Airflow process of this stack."""
    home = settings.state / "airflow"
    secrets = settings.secrets
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "PG", "PYTHON"))
    }
    configured = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "8",
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__FERNET_KEY": secrets["fernet_key"],
        "CORE__DEFAULT_TIMEZONE": "utc",
        "DATABASE__SQL_ALCHEMY_CONN": databases.sqlalchemy_url(),
        "DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "SCHEDULER__DAG_DIR_LIST_INTERVAL": "30",
        "SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "30",
        # A task that died with a killed demo is given up after a minute, not after five.
        "SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "60",
        "SCHEDULER__TASK_QUEUED_TIMEOUT": "120",
        "SCHEDULER__CATCHUP_BY_DEFAULT": "False",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        "WEBSERVER__WEB_SERVER_HOST": ports.LOOPBACK,
        "WEBSERVER__WEB_SERVER_PORT": str(settings.web_port),
        "WEBSERVER__BASE_URL": settings.web_url,
        "WEBSERVER__SECRET_KEY": secrets["webserver_key"],
        "WEBSERVER__WORKERS": "2",
        "WEBSERVER__WARN_DEPLOYMENT_EXPOSURE": "False",
        "WEBSERVER__EXPOSE_CONFIG": "False",
        "API__AUTH_BACKENDS": "airflow.api.auth.backend.basic_auth,"
        "airflow.api.auth.backend.session",
    }
    variables = {
        # The web server starts gunicorn by its name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_POSTGRES_RESTAURANT": databases.url("restaurant_user"),
        "RESTAURANT_API_URL": settings.api_url,
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }
    if settings.run_seconds is not None:
        variables["RESTAURANT_RUN_SECONDS"] = str(settings.run_seconds)
    return {**kept, **variables, **{f"AIRFLOW__{key}": text for key, text in configured.items()}}


def command(*arguments: str) -> list[str]:
    """Return the command line of an Airflow program in this interpreter."""
    # Tasks bring their logs themselves, so that no log server needs a port of its own.
    extra = ["--skip-serve-logs"] if arguments[0] in ("scheduler", "triggerer") else []
    return [sys.executable, "-m", "airflow", *arguments, *extra]


def prepare(settings: Settings, databases: Databases) -> None:
    """Migrate Airflow's database; make the login and the Variable where they are missing."""
    variables = environment(settings, databases)
    home = Path(variables["AIRFLOW_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    _run(settings, variables, "db", "migrate")
    with psycopg2.connect(databases.url("airflow_user")) as connection:
        cursor = connection.cursor()
        cursor.execute("select exists (select from ab_user where username = %s)", [ADMIN])
        (has_login,) = cursor.fetchone() or (False,)
        cursor.execute("select exists (select from variable where key = %s)", [OFFSET_VARIABLE])
        (has_variable,) = cursor.fetchone() or (False,)
    connection.close()
    if not has_login:
        name = ["--username", ADMIN, "--firstname", "Demo", "--lastname", "Admin"]
        account = ["--role", "Admin", "--email", "admin@localhost"]
        _run(
            settings, variables, "users", "create", *name, *account, answer=settings.secrets[ADMIN]
        )
    if not has_variable:
        _run(settings, variables, "variables", "set", OFFSET_VARIABLE, "0")


def _run(
    settings: Settings, variables: dict[str, str], *arguments: str, answer: str | None = None
) -> None:
    """Run one command of Airflow to its end.

    `answer` is a password, given twice on standard input: the command line is there for every user
    of the machine to read. In a session of its own the command finds no terminal to ask on.
    """
    log = settings.logs / "airflow-setup.log"
    with log.open("ab") as output:
        done = subprocess.run(
            command(*arguments),
            env=variables,
            cwd=variables["AIRFLOW_HOME"],
            input=f"{answer}\n{answer}\n".encode() if answer else b"",
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
        )
    if done.returncode != 0:
        shown = " ".join(arguments[:2])
        raise ProcessError(f"airflow {shown} ended with code {done.returncode}\n{tail(log)}")
