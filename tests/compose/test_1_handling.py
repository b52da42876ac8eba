"""The verbs on a healthy stack and on one whose services are stopped, one at a time."""

from __future__ import annotations

import subprocess
import sys
import tarfile

import pytest
from containers import LONG_RUNNING, ROOT, Containers
from stack import environment


def test_every_row_is_what_the_events_say_after_a_scheduled_run(stack: Containers) -> None:
    done = stack.must("smoke")
    assert done.stdout.startswith("stack: compose"), done.stdout


def test_data_arrives(stack: Containers) -> None:
    print(stack.must("verify").stdout)


def test_all_parts_give_signs_of_life(stack: Containers) -> None:
    print(stack.must("check").stdout)


def test_doctor_finds_nothing(stack: Containers) -> None:
    print(stack.must("doctor").stdout)


def test_a_run_can_be_triggered(stack: Containers) -> None:
    assert "<- this one" in stack.must("trigger").stdout


def test_a_second_up_changes_nothing(stack: Containers) -> None:
    secrets = stack.file.read_text()
    before = stack.offset()
    stack.must("up")
    assert stack.offset() >= before
    assert stack.file.read_text() == secrets
    assert stack.file.stat().st_mode & 0o077 == 0


def test_down_and_up_lose_nothing(stack: Containers) -> None:
    rows, offset = stack.rows(), stack.offset()
    stack.must("down")
    assert stack.verb("check").returncode != 0
    stack.must("up")
    after = stack.rows()
    assert {name: after[name] >= count for name, count in rows.items()} == dict.fromkeys(rows, True)
    assert stack.offset() >= offset > 0
    assert int(stack.sql("select count(*) from sse_stream.epochs")) == 1
    stack.must("verify")


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_check_names_a_stopped_service(stack: Containers, service: str) -> None:
    stack.compose("stop", service)
    try:
        done = stack.verb("check")
        assert done.returncode == 1
        assert f"FAIL  service {service}" in done.stdout, done.stdout
        assert done.stdout.count("FAIL  service ") == 1, done.stdout
    finally:
        stack.compose("start", service)
    stack.await_well()


def test_the_roles_of_the_example_cannot_log_in_without_their_passwords(stack: Containers) -> None:
    port = stack.settings["POSTGRES_EXTERNAL_PORT"]
    code = (
        "import psycopg2, sys\n"
        "for name in sys.argv[2:]:\n"
        "    try: psycopg2.connect(host='127.0.0.1', port=sys.argv[1], user=name, password='',"
        " dbname='postgres')\n"
        "    except psycopg2.OperationalError: continue\n"
        "    sys.exit(name)\n"
    )
    names = ("postgres", "restaurant_owner", "restaurant_user", "analytics_reader", "airflow_user")
    subprocess.run([sys.executable, "-c", code, port, *names], check=True)


def test_the_generator_has_a_read_only_root_and_no_rights(stack: Containers) -> None:
    shown = stack.compose(
        "exec", "-T", "restaurant-api", "bash", "-c", "id -u; touch /x 2>&1 || true"
    )
    assert shown.splitlines()[0] == "10001"
    assert "Read-only file system" in shown


def test_a_bundle_holds_logs_and_no_secret(stack: Containers) -> None:
    done = stack.must("logs", BUNDLE="1")
    (archive,) = stack.folder.glob("support-*.tar.gz")
    assert archive.name in done.stdout
    with tarfile.open(archive) as opened:
        texts = {
            member.name: (opened.extractfile(member) or sys.stdin.buffer).read().decode()
            for member in opened.getmembers()
        }
    assert any(name.endswith("log-scheduler.txt") and text for name, text in texts.items())
    assert any("services:" in text for text in texts.values())
    for name, value in stack.settings.items():
        if environment.is_secret(name):
            assert not [file for file, text in texts.items() if value in text], name


def test_reset_and_destroy_ask_first(stack: Containers) -> None:
    before = stack.rows()
    for verb in ("reset", "destroy"):
        done = stack.verb(verb)
        assert done.returncode == 1
        assert "not confirmed" in done.stdout
    after = stack.rows()
    assert all(after[name] >= count for name, count in before.items())


def test_the_standalone_database_is_the_same_service(stack: Containers) -> None:
    standalone = ("--file", "docker/postgres/compose.yml")
    done = subprocess.run(
        ["docker", "compose", "--env-file", str(stack.file), *standalone, "config", "--services"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["postgres"]
