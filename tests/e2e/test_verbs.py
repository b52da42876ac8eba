"""The verbs of `make` on the embedded stack, as they are called: which stack, exit code, findings."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from demo.database import BUSINESS
from running_demo import ROOT, Demo, await_true
from stack.contract import StackError
from stack.embedded import owner

pytestmark = pytest.mark.timeout(600)


def call(demo: Demo, verb: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack", verb],
        cwd=ROOT,
        env={**demo.environment, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_stack_that_runs_is_the_one_that_is_meant(demo: Demo) -> None:
    done = call(demo, "ps")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith(f"stack: demo (embedded, state {demo.settings.state})\n")
    assert demo.settings.web_url in done.stdout


def test_check_and_verify_pass_on_a_stack_that_is_well(demo: Demo) -> None:
    for verb, last in (("check", "check: all is well"), ("verify", "verify: data arrives")):
        done = _until_it_passes(demo, verb)
        assert last in done.stdout, done.stdout


def test_doctor_names_faults_and_only_those(demo: Demo) -> None:
    assert "nothing disagrees" in _until_it_passes(demo, "doctor").stdout
    done = call(demo, "doctor", DOCTOR_MIN_FREE_GB="1000000")
    assert done.returncode == 1
    assert "disk_low: " in done.stdout
    assert "docs/runbook.md#disk_low" in done.stdout


def test_wrong_counts_are_named_and_counted_anew(demo: Demo) -> None:
    right = "rollups: what was counted is what the facts say"
    assert right in call(demo, "rollups").stdout
    with closing(psycopg2.connect(demo.stack.databases.admin(BUSINESS))) as connection, connection:
        connection.cursor().execute("delete from analytics.sales_by_minute_parts")
    done = call(demo, "verify")
    assert (done.returncode, "what the facts say: make rollups" in done.stdout) == (1, True)
    done = call(demo, "rollups")
    assert (done.returncode, "rollups: counted anew" in done.stdout) == (0, True), done.stdout
    assert right in call(demo, "rollups").stdout


def test_a_backup_holds_the_offsets(demo: Demo, tmp_path: Path) -> None:
    done = call(demo, "backup", BACKUP_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout
    (file,) = tmp_path.glob("*.dump")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes().startswith(b"PGDMP")


def test_what_deletes_asks_first(demo: Demo) -> None:
    before = demo.position()
    for verb in ("reset", "destroy"):
        done = call(demo, verb)
        assert done.returncode == 1
        assert "not confirmed; nothing was changed" in done.stdout
    assert demo.position() >= before


def test_a_stack_that_is_none_is_refused(demo: Demo) -> None:
    done = call(demo, "ps", STACK="kubernetes")
    assert done.returncode == 1
    assert "STACK is 'kubernetes': it can be demo or compose" in done.stdout


def test_check_fails_and_names_what_is_down(demo: Demo, tmp_path: Path) -> None:
    ports = {
        f"DEMO_{name}_PORT": str(n) for n, name in enumerate(("API", "WEB", "PG", "METRICS"), 1)
    }
    nothing = {"DEMO_STATE": str(tmp_path / "state"), "STACK": "demo", **ports}
    (tmp_path / "state").mkdir()
    done = call(demo, "check", **nothing)
    assert done.returncode == 1
    for name in (
        "postgres",
        "restaurant-api",
        "metrics-api",
        "webserver",
        "scheduler",
        "triggerer",
    ):
        assert f"FAIL  service {name}" in done.stdout


def test_the_owner_of_a_state_folder_is_the_process_that_holds_it(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_STATE", str(demo.settings.state))
    assert owner() == demo.pid
    monkeypatch.setenv("DEMO_STATE", "/nowhere")
    assert owner() is None


def _until_it_passes(demo: Demo, verb: str) -> subprocess.CompletedProcess[str]:
    """A scheduler that another test has just started needs a moment."""
    deadline = time.monotonic() + 180
    while (done := call(demo, verb)).returncode != 0:
        if time.monotonic() > deadline:
            raise StackError(done.stdout)
        time.sleep(2)
    return done


def test_the_data_only_reset_restores_raw_and_leaves_the_facts(tmp_path: Path) -> None:
    """The seed's reset, by the verbs alone: up, reset, down."""
    stack = Demo(tmp_path / "state")
    stack.environment["STACK"] = "demo"
    try:
        assert call(stack, "up").returncode == 0
        assert call(stack, "up").stdout.splitlines()[1] == "it runs already"
        await_true(lambda: stack.position() > 300, 120)
        facts = _facts(stack)
        done = call(stack, "reset", DATA="1", YES="1")
        assert done.returncode == 0, done.stdout
        assert "reset: raw events are back, facts stayed" in done.stdout
        assert _facts(stack) == facts
        assert call(stack, "down").returncode == 0
        assert call(stack, "destroy", YES="1").returncode == 0
        assert not stack.settings.state.exists()
    finally:
        call(stack, "down")
        stack.remove()


def _facts(demo: Demo) -> str:
    """A digest of the first orders with all that belongs to them."""
    with closing(psycopg2.connect(demo.stack.databases.admin(BUSINESS))) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "with first as (select payload ->> 'order_id' as order_id from raw_data.events_raw"
            " where event_offset <= 100 and event_type = 'order_created')"
            " select md5(string_agg(o::text || coalesce(i::text, ''), '|' order by o.order_id,"
            " i.order_item_id)) from analytics.orders o"
            " join first f on f.order_id = o.order_id::text"
            " left join analytics.order_items i on i.order_id = o.order_id"
        )
        (digest,) = cursor.fetchone() or ("",)
    return str(digest)
