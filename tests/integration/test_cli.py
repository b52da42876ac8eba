"""What people see and do beside the runs, with the real generator and PostgreSQL."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from operator_stage import Generator, compare, counts, run, until
from schema_database import Database

from sse_stream import SSEStreamOperator
from sse_stream.__main__ import main

VARIABLE = "restaurant_stream_offset"
Cli = Callable[..., SimpleNamespace]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command on the restaurant's connection; returns code, output and JSON."""

    def call(*arguments: str, typed: str = "") -> SimpleNamespace:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        capsys.readouterr()
        code = main([*arguments, "--conn-id", "postgres_restaurant"])
        out, err = capsys.readouterr()
        return SimpleNamespace(
            code=code, out=out, err=err, json=json.loads(out) if "--json" in arguments else None
        )

    return call


@pytest.fixture
def real_variables(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> dict[str, str]:
    """The same Variables for the command line, in memory."""
    from sse_stream import _airflow

    monkeypatch.setattr(_airflow, "ask_variable", variables.get)
    monkeypatch.setattr(_airflow, "write_variable", variables.__setitem__)
    return variables


@pytest.fixture
def killable(generator: Generator) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts runs of the operator in processes of their own."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        script = f"""
from types import SimpleNamespace
from sse_stream import SSEStreamOperator
ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1, try_number=2, log_url="http://log/1")
SSEStreamOperator(task_id="t", sse_url="{generator.url}/stream", offset_variable=None,
    max_events_per_run=None, timeout_seconds=60).execute({{"ti": ti}})
"""
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def codes(outcome: SimpleNamespace) -> list[str]:
    return [each["code"] for each in outcome.json["findings"]]


def test_status_and_doctor_of_a_stream_that_is_well(
    generator: Generator, restaurant: Database, real_variables: dict[str, str], cli: Cli
) -> None:
    run(generator, max_events_per_run=1500)
    source = ("--source-url", f"{generator.url}/stream")
    row = cli("status", "--json", *source).json["streams"][0]
    assert (row["position"], row["held"], row["last_runs"][0]["state"]) == (1500, False, "ended")
    assert row["source"]["epoch"] == row["epoch"]
    assert row["lag"] == row["source"]["head"] - 1500
    assert row["variable"] == {"name": VARIABLE, "value": "1500", "unknown": None}
    shown = cli("status", *source).out
    for part in ("1500 in epoch", "behind the source", f"{VARIABLE} = 1500", "event_limit"):
        assert part in shown
    assert cli("doctor", *source).code == 0
    checked = cli("doctor", "--json", *source).json
    assert (checked["healthy"], checked["not_checked"]) == (True, [])


def test_what_is_not_known_is_unknown_and_never_zero(
    generator: Generator, restaurant: Database, variables: dict[str, str], cli: Cli
) -> None:
    run(generator, max_events_per_run=10)
    # This Airflow has a database without tables.
    row = cli("status", "--json").json["streams"][0]
    assert row["lag"] is None
    assert "no source is named" in row["source"]["unknown"]
    assert row["variable"]["value"] is None
    assert "cannot be read" in row["variable"]["unknown"]
    assert "lag           unknown: no source is named" in cli("status").out
    checked = cli("doctor", "--json")
    assert checked.code == 0
    assert [text.partition(":")[0] for text in checked.json["not_checked"]] == [
        "Variable",
        "source",
    ]
    generator.kill()
    gone = cli("doctor", "--json", "--source-url", f"{generator.url}/stream")
    assert (gone.code, codes(gone)) == (1, ["source_unreachable"])
    refused = cli("reset", "--stream", "restaurant", "--to", "head", "--yes")
    assert refused.code == 2
    assert "unknown: no source is named" in refused.err


def test_the_variable_of_an_airflow_is_read(
    restaurant: Database,
    generator: Generator,
    variables: dict[str, str],
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(generator, max_events_per_run=10)
    monkeypatch.setenv(f"AIRFLOW_VAR_{VARIABLE.upper()}", "4")
    asked = cli("doctor", "--json")
    assert codes(asked) == ["rewind_pending"]
    assert asked.json["findings"][0]["repair"].endswith(f"airflow variables set {VARIABLE} 10")


def test_an_odd_variable_is_a_clear_error_and_moves_nothing(
    generator: Generator, restaurant: Database, real_variables: dict[str, str], cli: Cli
) -> None:
    run(generator, max_events_per_run=300)
    books = (
        "select position, high_water, mirrored, previously_mirrored, fence from sse_stream.streams"
    )
    before = restaurant.run(books), counts(restaurant)
    odd = ["eleven", "-1", "12.5", "1e3", "", "None", "9223372036854775808", "301"]
    for text in odd:
        real_variables[VARIABLE] = text
        beyond = text == "301"
        error = (
            "beyond the last committed offset 300" if beyond else f'"{text}", which is no offset'
        )
        with pytest.raises(Exception, match="nothing was moved") as raised:
            run(generator, max_events_per_run=10)
        assert type(raised.value).__name__ == "AirflowFailException"
        assert error in str(raised.value)
        assert (restaurant.run(books), counts(restaurant)) == before
        assert real_variables[VARIABLE] == text
        found = cli("doctor", "--json")
        assert codes(found) == ["mirror_beyond" if beyond else "mirror_not_a_number"]
        repair = found.json["findings"][0]["repair"].partition(";")[0]
        assert repair == f"airflow variables set {VARIABLE} 300"
    real_variables[VARIABLE] = "300"
    assert run(generator, max_events_per_run=10)["first_offset"] == 301


def test_an_odd_variable_before_the_first_run_starts_at_the_beginning(
    generator: Generator, restaurant: Database, real_variables: dict[str, str]
) -> None:
    real_variables[VARIABLE] = "soon"
    assert run(generator, max_events_per_run=10)["first_offset"] == 1
    assert real_variables[VARIABLE] == "10"


def test_a_first_run_beyond_the_end_of_the_source_comes_down_to_it(
    generator: Generator, restaurant: Database, real_variables: dict[str, str]
) -> None:
    real_variables[VARIABLE] = "99999999"
    result = run(generator, max_events_per_run=10, timeout_seconds=5)
    assert result["position"] < 99999999
    assert result["events_processed"] == counts(restaurant)[0] > 0


def test_reset_backwards_is_confirmed_replayed_and_changes_no_row(
    generator: Generator, restaurant: Database, real_variables: dict[str, str], cli: Cli
) -> None:
    run(generator, max_events_per_run=900)
    back = ("reset", "--stream", "restaurant", "--to", "400")
    refused = cli(*back, typed="restaurants\n")
    assert refused.code == 1
    assert "not confirmed; nothing was moved" in refused.err
    assert cli(*back).code == 1, "nothing typed"
    assert restaurant.one("select position from sse_stream.streams") == 900

    moved = cli(*back, typed="restaurant\n")
    assert moved.code == 0, moved.err
    assert "up to 500 events come again" in moved.err
    assert "moved from offset 900 to 400" in moved.out
    assert codes(cli("doctor", "--json")) == ["rows_above_offset"]
    result = run(generator, max_events_per_run=500)
    assert (result["first_offset"], result["duplicates"]) == (401, 500)
    assert real_variables[VARIABLE] == "900"
    assert not compare(restaurant, generator).differences
    assert "reset from 900 to 400" in cli("status").out


def test_reset_forwards_leaves_a_gap_and_sets_the_variable(
    generator: Generator, restaurant: Database, real_variables: dict[str, str], cli: Cli
) -> None:
    run(generator, max_events_per_run=100)
    until(lambda: generator.health()["last_offset"] > 600)
    ahead = ("reset", "--stream", "restaurant", "--yes", "--to")
    assert "name the source" in cli(*ahead, "500").err
    source = ("--source-url", f"{generator.url}/stream")
    beyond = cli(*ahead, "99999999", *source)
    assert (beyond.code, "beyond the source's newest" in beyond.err) == (2, True)
    moved = cli(*ahead, "500", *source, "--set-variable", "--json")
    assert (moved.code, moved.json["gap"]) == (0, {"first": 101, "last": 500})
    assert real_variables[VARIABLE] == "500"
    assert codes(cli("doctor", "--json", *source)) == ["gaps_open"]
    assert "1 open, 400 offsets missed" in cli("status").out
    assert run(generator, max_events_per_run=10)["first_offset"] == 501


def test_a_pending_rewind_is_told_before_it_undoes_a_reset(
    generator: Generator, restaurant: Database, real_variables: dict[str, str], cli: Cli
) -> None:
    run(generator, max_events_per_run=100)
    real_variables[VARIABLE] = "20"
    moved = cli("reset", "--stream", "restaurant", "--to", "50", "--yes")
    assert f"warning: Variable {VARIABLE} asks for 20" in moved.out
    cli("reset", "--stream", "restaurant", "--to", "50", "--yes", "--set-variable")
    assert run(generator, max_events_per_run=1)["first_offset"] == 51


def test_a_run_that_was_killed_is_shown_refused_to_and_closed(
    generator: Generator,
    restaurant: Database,
    cli: Cli,
    killable: Callable[[], subprocess.Popen[bytes]],
) -> None:
    first = killable()
    until(lambda: counts(restaurant)[0] > 200)
    row = cli("status", "--json").json["streams"][0]
    assert (row["held"], row["last_runs"][0]["state"]) == (True, "running")
    held = cli("reset", "--stream", "restaurant", "--to", "0", "--yes")
    assert held.code == 1
    assert "is held by" in held.err
    assert "nothing was moved" in held.err
    first.send_signal(signal.SIGKILL)
    first.wait()
    until(lambda: not cli("status", "--json").json["streams"][0]["held"])
    lost = cli("status")
    assert " lost " in lost.out
    assert "log: http://log/1" in lost.out
    found = cli("doctor", "--json")
    assert codes(found) == ["run_lost"]
    assert "d.t, try 2" in found.json["findings"][0]["seen"]
    run(generator, max_events_per_run=100, offset_variable=None)
    assert restaurant.run(
        "select stop_reason, ended_at is not null from sse_stream.runs order by id"
    ) == [("lost", True), ("event_limit", True)]
    assert cli("doctor").code == 0


def test_the_history_is_filled_for_success_and_failure(
    generator: Generator, restaurant: Database, variables: dict[str, str]
) -> None:
    ti = SimpleNamespace(
        dag_id="d", task_id="t", run_id="r", map_index=4, try_number=2, log_url="http://log/1"
    )
    for kind, url in (("event_limit", generator.url), (None, f"{generator.url}/no")):
        operator = SSEStreamOperator(task_id="t", sse_url=f"{url}/stream", max_events_per_run=50)
        if kind:
            operator.execute({"ti": ti})
        else:
            with pytest.raises(Exception, match="404"):
                operator.execute({"ti": ti})
    rows = restaurant.run(
        "select dag_id, task_id, run_id, map_index, try_number, log_url, events, rows > 0, bytes > 0,"
        " ended_at >= started_at, stop_reason, error from sse_stream.runs order by id"
    )
    who = ("d", "t", "r", 4, 2, "http://log/1")
    assert rows[0] == (*who, 50, True, True, True, "event_limit", None)
    assert rows[1][:-1] == (*who, 0, False, False, True, None)
    assert "404" in rows[1][-1]


def test_a_new_epoch_at_the_source_is_told(
    generator: Generator, restaurant: Database, variables: dict[str, str], cli: Cli
) -> None:
    run(generator, max_events_per_run=100)
    generator.kill()
    generator.start("--events-per-second=2000")
    until(lambda: generator.health()["last_offset"] > 200)
    source = ("--source-url", f"{generator.url}/stream")
    assert codes(cli("doctor", "--json", *source)) == ["epoch_differs"]
    row = cli("status", "--json", *source).json["streams"][0]
    assert row["lag"] is None
    assert "the source is in epoch" in cli("status", *source).out
    refused = cli("reset", "--stream", "restaurant", "--to", "head", "--yes", *source)
    assert refused.code == 2
    assert "let one run begin the new epoch first" in refused.err


def test_pruning_keeps_what_is_open_and_the_reader_may_not(restaurant: Database, cli: Cli) -> None:
    restaurant.run(
        "insert into sse_stream.runs (stream, started_at) select 'restaurant', now() - d * interval '1 day'"
        " from unnest(array[3, 40]) d"
    )
    assert cli("prune", "--json").json[0]["removed"] == 1
    assert "1 rows removed" in cli("prune", "--runs-days", "2").out
    assert cli("prune", "--runs-days", "0").code == 2
    assert restaurant.one("select count(*) from sse_stream.runs") == 0


def test_a_reader_sees_the_status_and_the_doctor_says_what_it_may_not(
    generator: Generator,
    restaurant: Database,
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(generator, max_events_per_run=10)
    monkeypatch.setenv("DATABASE_URL", f"{restaurant.dsn}?options=-c%20role%3Danalytics_reader")
    assert main(["status"]) == 0
    assert "stream restaurant" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert {"right_missing", "table_unusable"} == {each["code"] for each in found}
    seen = [each["seen"] for each in found]
    assert "login analytics_reader has no update right on table sse_stream.offsets" in seen
    assert main(["reset", "--stream", "restaurant", "--to", "0", "--yes"]) == 1
    assert "permission denied" in capsys.readouterr().err
