"""What the doctor makes of what it sees; that it sees right is for `make compose-test`."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from stack import bundle, doctor, environment, verbs
from stack.__main__ import choose
from stack.contract import Service, Stack, StackError

ROOT = Path(__file__).resolve().parents[2]
WELL = {
    "raw": "9",
    "orders": "2",
    "order items": "3",
    "payments": "2",
    "feedback": "1",
    "audit": "9",
    "offset": "9",
    "mirrored": "9",
    "last ingestion": "2026-01-01T00:00:00Z",
    "seconds since": "1",
}


class Patient(Stack):
    """A stack that says what a test tells it to say."""

    kind = "demo"
    title = "a patient"
    api_url = "http://127.0.0.1:1"
    web_url = "http://127.0.0.1:1"

    def __init__(self, **told: Any) -> None:
        self.told = told

    def is_running(self) -> bool:
        return bool(self.told.get("running", True))

    def up(self) -> None:
        raise AssertionError("the doctor changes nothing")

    down = destroy = up

    def services(self) -> list[Service]:
        return [Service("postgres", True, "healthy"), *self.told.get("services", [])]

    def show(self) -> None:
        pass

    def follow_logs(self) -> int:
        return 0

    def log_texts(self, lines: int) -> Iterator[tuple[str, str]]:
        yield "scheduler", "postgresql://somebody:hunter2@host/db and abcdefabcdef"

    def description(self) -> str:
        return "PASSWORD=abcdefabcdef"

    def secrets(self) -> Sequence[str]:
        return ["abcdefabcdef"]

    def ports(self) -> Mapping[str, tuple[str, int, bool]]:
        return dict(self.told.get("ports", {}))

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        text = json.dumps({"findings": self.told.get("findings", [])})
        return subprocess.CompletedProcess(arguments, 0, self.told.get("said", text), "")

    def database_tool(
        self, *command: str, source: IO[bytes] | None = None, target: IO[bytes] | None = None
    ) -> str:
        file = next(part for part in command if part.startswith("--file=")).rpartition("/")[2]
        answer = self.told.get(file, WELL if file == "counts.sql" else {})
        if isinstance(answer, StackError):
            raise answer
        if isinstance(answer, list):
            return "\n".join(answer)
        return "\n".join(f"{name}|{value}" for name, value in answer.items())

    @contextmanager
    def quiet(self) -> Iterator[None]:
        yield

    def engine_problems(self) -> list[str]:
        return list(self.told.get("engine", []))

    def setting_problems(self) -> list[str]:
        return list(self.told.get("settings", []))

    def free_bytes(self) -> Mapping[str, int]:
        return {"/": int(self.told.get("free", 10**12))}


def codes(**told: Any) -> list[str]:
    return [finding.code for finding in doctor.examine(Patient(**told))]


def test_nothing_is_found_where_all_is_well() -> None:
    assert codes() == []


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"settings": ["AIRFLOW_DB_PASSWORD is empty"]}, "setting_refused"),
        ({"running": False}, "not_running"),
        ({"services": [Service("webserver", False, "exited")]}, "service_unhealthy"),
        ({"missing.sql": ["role analytics_reader"]}, "role_missing"),
        ({"findings": [{"code": "migration_pending"}]}, "migration_behind"),
        ({"findings": [{"code": "not_migrated"}]}, "migration_behind"),
        ({"counts.sql": {**WELL, "seconds since": "301"}}, "stale_data"),
        ({"counts.sql": {**WELL, "seconds since": "never"}}, "stale_data"),
        ({"findings": [{"code": "rewind_pending"}]}, "offset_variable_apart"),
        ({"findings": [{"code": "mirror_beyond"}]}, "offset_variable_apart"),
        ({"findings": [{"code": "gaps_open"}]}, "gaps_open"),
        ({"free": 10**9}, "disk_low"),
        ({"counts.sql": StackError("no such table")}, "cannot_look"),
        ({"said": "Traceback"}, "cannot_look"),
    ],
)
def test_a_fault_is_named(told: dict[str, Any], code: str) -> None:
    for found in told.get("findings", []):
        found.update(seen="something", repair="a command")
    assert codes(**told) == [code]


def test_behind_a_missing_engine_nothing_else_is_looked_at() -> None:
    assert codes(engine=["docker is not installed"], free=0, running=False) == ["engine_missing"]


def test_data_that_is_stale_is_told_once() -> None:
    silent = {"code": "silent", "seen": "silence", "repair": "a command"}
    assert codes(**{"findings": [silent], "counts.sql": {**WELL, "seconds since": "999"}}) == [
        "stale_data"
    ]


def test_a_port_counts_as_busy_only_where_a_stranger_holds_it() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        found = doctor.busy_ports(Patient(ports={"A_PORT": ("webserver", port, False)}))
        assert [each.code for each in found] == ["port_busy"]
        assert f"port {port} of webserver is taken by process {os.getpid()}" in found[0].seen
        assert "A_PORT=" in found[0].repair
        assert doctor.busy_ports(Patient(ports={"A_PORT": ("webserver", port, True)})) == []
    assert doctor.busy_ports(Patient(ports={"A_PORT": ("webserver", port, False)})) == []


def test_every_finding_has_its_heading_in_the_runbook() -> None:
    headings = {
        line.removeprefix("### ").strip()
        for line in (ROOT / "docs" / "runbook.md").read_text().splitlines()
        if line.startswith("### ")
    }
    source = (ROOT / "stack" / "doctor.py").read_text()
    named = re.findall(r'Finding\(\s*"(\w+)"', source)
    used = {*named, *doctor._NAMES.values()}
    assert headings == used, "a heading without finding, or the other way round"


def test_verify_fails_where_data_is_missing_or_stands_still(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verbs, "GROWTH_SECONDS", 0)
    assert verbs.verify(Patient(**{"counts.sql": {**WELL, "orders": "0"}})) == 1
    said = capsys.readouterr().out
    assert "there are no orders" in said
    assert "the offset has stood at 9" in said
    assert verbs.verify(Patient(**{"rules.sql": ["items_without_order: 3"]})) == 1
    assert "items_without_order: 3" in capsys.readouterr().out


def test_a_bundle_is_cleaned_of_secrets_and_of_passwords_in_urls() -> None:
    patient = Patient()
    text = "".join(text for _, text in patient.log_texts(1))
    cleaned = bundle.clean(text + patient.description(), patient.secrets())
    assert "abcdef" not in cleaned
    assert "hunter2" not in cleaned
    assert "postgresql://somebody:***@host/db" in cleaned


def test_memory_is_read_as_postgresql_writes_it() -> None:
    assert [doctor._bytes(text) for text in ("16kB", "256MB", "1GB", "2")] == [
        *(16 * 2**10, 256 * 2**20, 2**30, 2 * 8192),
    ]


def test_a_stack_must_be_one_of_two() -> None:
    with pytest.raises(StackError, match="it can be demo or compose"):
        choose({"STACK": "swarm"})
    assert choose({"STACK": "compose"}).kind == "compose"


def test_the_verbs_of_containers_need_no_package_but_their_own() -> None:
    modules = "stack.__main__, stack.compose, stack.doctor, stack.verbs, stack.backup, stack.bundle"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {modules}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_verb_has_its_target() -> None:
    from stack.__main__ import VERBS

    lines = (ROOT / "docker" / "stack.mk").read_text().splitlines()
    (targets,) = (line for line in lines if line.startswith("env up"))
    assert set(targets.rstrip(":").split()) == set(VERBS)


def test_settings_known_to_compose_are_those_of_the_example() -> None:
    assert all(environment.read(environment.EXAMPLE)[name] for name in ("TZ", "BIND_ADDRESS"))
