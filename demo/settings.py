"""Where the demo keeps its state, on which ports it listens, with which secrets."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from demo import ports

ROOT = Path(__file__).resolve().parent.parent

SUPERUSER = "postgres"
ROLES = ("restaurant_owner", "restaurant_user", "analytics_reader", "airflow_user")
ADMIN = "admin"


class SettingsError(Exception):
    """An environment variable holds something the demo cannot use."""


@dataclass(frozen=True)
class Settings:
    """Everything one stack needs to know; two stacks with different settings run side by side.

    `database_url` is a superuser's URL of the user's own server, None for the embedded one.
    `events_per_second` is the generator's pace, None for its natural one. `run_seconds` is how
    long one DAG run reads the stream, None for the DAG's own default.
    """

    state: Path
    pg_port: int
    api_port: int
    web_port: int
    metrics_port: int
    database_url: str | None = None
    events_per_second: str | None = None
    feedback_delay: str = "10s..60s"
    run_seconds: int | None = None

    @classmethod
    def for_demo(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings of `make demo` from the environment; raise SettingsError."""
        settings = cls(
            state=Path(environment.get("DEMO_STATE") or ROOT / ".demo").resolve(),
            pg_port=_port(environment, "DEMO_PG_PORT", 55432),
            api_port=_port(environment, "DEMO_API_PORT", 8000),
            web_port=_port(environment, "DEMO_WEB_PORT", 8081),
            metrics_port=_port(environment, "DEMO_METRICS_PORT", 8010),
            database_url=environment.get("DATABASE_URL") or None,
            events_per_second=environment.get("DEMO_EVENTS_PER_SECOND") or None,
            feedback_delay=environment.get("DEMO_FEEDBACK_DELAY") or cls.feedback_delay,
            run_seconds=_run_seconds(environment),
        )
        settings._require_different_ports()
        return settings

    @classmethod
    def for_smoke(cls, state: Path | None = None) -> Settings:
        """Return settings for a quick stack of its own beside whatever else runs."""
        taken: set[int] = set()
        while len(taken) < 4:
            taken.add(ports.free_port())
        pg_port, api_port, web_port, metrics_port = taken
        return cls(
            state=state or ROOT / ".smoke",
            pg_port=pg_port,
            api_port=api_port,
            web_port=web_port,
            metrics_port=metrics_port,
            events_per_second="50",
            feedback_delay="1s..5s",
            run_seconds=30,
        )

    @property
    def logs(self) -> Path:
        """The folder with one log file per program."""
        return self.state / "logs"

    @property
    def api_url(self) -> str:
        """The generator's base URL."""
        return f"http://{ports.LOOPBACK}:{self.api_port}"

    @property
    def web_url(self) -> str:
        """Airflow's web page."""
        return f"http://{ports.LOOPBACK}:{self.web_port}"

    @property
    def metrics_url(self) -> str:
        """The page that shows what lands."""
        return f"http://{ports.LOOPBACK}:{self.metrics_port}"

    @cached_property
    def secrets(self) -> dict[str, str]:
        """The passwords and keys of this state, generated once: NAME -> text."""
        self.make_state()
        path = self.state / "secrets.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        wanted = {name: _password() for name in (SUPERUSER, *ROLES, ADMIN, "webserver_key")}
        wanted["fernet_key"] = base64.urlsafe_b64encode(os.urandom(32)).decode()
        if wanted.keys() - known.keys():
            known = {**wanted, **known}
            partial = path.with_suffix(".new")
            partial.touch(mode=0o600)
            partial.write_text(json.dumps(known, indent=2))
            partial.replace(path)
        return known

    def make_state(self) -> None:
        """Make the state folder, invisible to git wherever it lies; raise SettingsError."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            (self.state / ".gitignore").write_text("*\n")
        except OSError as error:
            raise SettingsError(
                f"{self.state} cannot be the state folder ({error.strerror}): "
                "give another with DEMO_STATE=..."
            ) from error

    def _require_different_ports(self) -> None:
        wanted = {
            "DEMO_API_PORT": self.api_port,
            "DEMO_WEB_PORT": self.web_port,
            "DEMO_METRICS_PORT": self.metrics_port,
        }
        if self.database_url is None:
            wanted["DEMO_PG_PORT"] = self.pg_port
        by_port: dict[int, str] = {}
        for name, port in wanted.items():
            if port in by_port:
                raise SettingsError(
                    f"{by_port[port]} and {name} are both {port}: give different ports"
                )
            by_port[port] = name


def _password() -> str:
    # Letters and digits only: it stands in URLs and in shells that people copy it to.
    return secrets.token_hex(12)


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsError(f"{name} is {text!r}: give a port number from 1 to 65535")
    return int(text)


def _run_seconds(environment: Mapping[str, str]) -> int | None:
    text = environment.get("RESTAURANT_RUN_SECONDS")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"RESTAURANT_RUN_SECONDS is {text!r}: give whole seconds, at least 1")
    return int(text)
