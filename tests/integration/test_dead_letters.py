"""Dead letters of the restaurant: seen, replayed and given up, by hand and by the DAG's operator."""

from __future__ import annotations

import json
import sys
from io import BytesIO, TextIOWrapper
from types import SimpleNamespace
from typing import Any

import pytest
from operator_stage import Generator, compare, counts, run, until
from schema_database import Database
from test_cli import Cli, cli  # noqa: F401 (a fixture)

from sse_stream import DeadLetterReplayOperator, event_processor
from sse_stream.__main__ import main

STRICT = "alter table analytics.order_items add constraint few check (qty < 2) not valid"
LAX = "alter table analytics.order_items drop constraint few"
LETTERS = "select state, count(*) from sse_stream.dead_letters group by 1 order by 1"


@pytest.fixture
def letters(generator: Generator, restaurant: Database) -> int:
    """A stream with letters whose cause was mended; returns how many there are."""
    until(lambda: generator.health()["last_offset"] > 1000)
    restaurant.run(STRICT)
    report = run(generator, max_events_per_run=1000, offset_variable=None)
    restaurant.run(LAX)
    assert report["dead_letters"] > 10
    return int(report["dead_letters"])


def test_a_replay_makes_the_tables_what_they_should_have_been(
    letters: int,
    generator: Generator,
    restaurant: Database,
    cli: Cli,  # noqa: F811
) -> None:
    restaurant.run(STRICT)
    still = cli("dead-letters", "replay", "--all")
    assert (still.code, f"{letters} are dead again" in still.out) == (1, True)
    restaurant.run(LAX)
    done = cli("dead-letters", "replay", "--reason", "out_of_range", "--json")
    assert (done.code, done.json["landed"], done.json["unsettled"]) == (0, letters, 0)
    assert restaurant.run(LETTERS) == [("replayed", letters)]
    # The oracle wants no letters at all; these have landed.
    restaurant.run("delete from sse_stream.dead_letters")
    compared = compare(restaurant, generator)
    assert not compared.differences, compared.report()
    assert "0 dead letters tried" in cli("dead-letters", "replay", "--all").out
    last = cli("status", "--json").json["streams"][0]["last_runs"][1]
    assert (last["task_id"], last["stop_reason"], last["events"]) == ("replay", "replay", letters)


def test_letters_are_listed_by_reason_and_shown_whole_but_safe(
    letters: int,
    restaurant: Database,
    cli: Cli,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = cli("dead-letters", "list", "--limit", "3")
    assert listed.code == 0
    head, group, _, _, *rows = listed.out.splitlines()
    assert head.split() == ["count", "reason", "state", "first", "last", "types", "example"]
    assert group.split()[:3] == [str(letters), "out_of_range", "open"]
    assert len(rows) == 3
    assert "order_item_added" in rows[0]
    assert cli("dead-letters", "list", "--type", "refund").out.endswith("no open dead letters\n")
    assert cli("dead-letters", "list", "--since", "1h", "--json").json["groups"]
    assert not cli("dead-letters", "list", "--since", "2100-01-01", "--json").json["groups"]

    raw = b'{"a":"\x1b[31mred\xff"}\n'
    (letter_id,) = restaurant.run(
        "insert into sse_stream.dead_letters (stream, event_type, reason_code, reason, raw)"
        " values ('restaurant', E'odd\\x1b[2J', 'not_json', 'x', %s) returning dead_letter_id",
        raw,
    )[0]
    shown = cli("dead-letters", "show", str(letter_id))
    assert "\x1b" not in shown.out
    assert r'{"a":"\x1b[31mred\xff"}' in shown.out
    assert "\x1b" not in cli("dead-letters", "list").out
    out = TextIOWrapper(BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    assert (
        main(["dead-letters", "show", str(letter_id), "--raw", "--conn-id", "postgres_restaurant"])
        == 0
    )
    assert out.buffer.getvalue() == raw  # type: ignore[attr-defined]


def test_a_letter_is_given_up_only_after_a_yes(
    letters: int,
    restaurant: Database,
    cli: Cli,  # noqa: F811
) -> None:
    first, second = (
        str(row[0])
        for row in restaurant.run("select dead_letter_id from sse_stream.dead_letters limit 2")
    )
    refused = cli("dead-letters", "discard", first, typed="no\n")
    assert (refused.code, "nothing was discarded" in refused.err) == (1, True)
    assert cli("dead-letters", "discard", first, typed="yes\n").code == 0
    again = cli("dead-letters", "discard", first, second, "--yes", "--json")
    assert (again.code, again.json) == (1, {"discarded": [int(second)], "not_open": [int(first)]})
    assert restaurant.run(LETTERS) == [("discarded", 2), ("open", letters - 2)]
    assert cli("status", "--json").json["streams"][0]["dead_letters"] == letters - 2
    named = cli("dead-letters", "replay", first)
    assert (named.code, "1 not found among the open letters" in named.out) == (1, True)
    assert cli("dead-letters", "replay", first, "--force").code == 0
    assert cli("dead-letters", "show", "999999").code == 1


def test_the_operator_replays_what_it_is_told(
    letters: int, generator: Generator, restaurant: Database
) -> None:
    ti = SimpleNamespace(
        dag_id="d", task_id="t", run_id="r", map_index=-1, try_number=1, log_url="http://log"
    )

    def replay(**arguments: Any) -> dict[str, Any]:
        result: dict[str, Any] = DeadLetterReplayOperator(task_id="t", **arguments).execute(
            {"ti": ti}
        )
        return result

    assert replay(reasons=["conflict"])["letters"] == 0
    assert replay(event_types="feedback_submitted, payment_captured")["letters"] == 0
    assert replay(limit="3")["landed"] == 3
    restaurant.run(STRICT)
    with pytest.raises(Exception, match="still dead") as raised:
        replay(fail_if_left=True)
    assert type(raised.value).__name__ == "AirflowFailException"
    assert replay()["left"] == letters - 3
    restaurant.run(LAX)
    assert replay(reasons=["out_of_range"], fail_if_left="True")["landed"] == letters - 3
    assert restaurant.run(
        "select distinct dag_id, run_id, log_url from sse_stream.runs where stop_reason = 'replay'"
    ) == [("d", "r", "http://log")]
    for wrong in ({"limit": 0}, {"reasons": [1]}, {"reasons": 5}, {"limit": "x"}):
        with pytest.raises(Exception, match=f"{next(iter(wrong))} of task 't' is not"):
            replay(**wrong)


def test_a_letter_of_a_processor_needs_its_processor(
    generator: Generator, restaurant: Database
) -> None:
    broken = True

    @event_processor("feedback_submitted")
    def feedback(cursor: Any, event: dict[str, Any], payload: dict[str, Any]) -> None:
        if broken:
            raise ValueError("not yet")
        cursor.execute(
            "insert into analytics.feedback (feedback_id, order_id, rating, created_ts)"
            " values (%s, %s, %s, %s)",
            [payload["feedback_id"], payload["order_id"], payload["rating"], event["ts"]],
        )

    until(lambda: generator.health()["last_offset"] > 3000)
    report = run(
        generator, max_events_per_run=3000, event_processors=[feedback], offset_variable=None
    )
    assert report["dead_letters"] > 0
    without = DeadLetterReplayOperator(task_id="t").execute({})
    assert without["unsettled"] == report["dead_letters"]
    assert "processor" in next(iter(without["skipped"]))
    broken = False
    done = DeadLetterReplayOperator(task_id="t", event_processors=[feedback]).execute({})
    assert (done["landed"], done["unsettled"]) == (report["dead_letters"], 0)
    assert restaurant.one("select count(*) from analytics.feedback") == report["dead_letters"]
    assert counts(restaurant)[0] == 3000
    assert json.dumps(done)


def test_a_part_of_a_stream_is_seen_moved_and_repaired_by_its_name(
    generator: Generator,
    restaurant: Database,
    variables: dict[str, str],
    cli: Cli,  # noqa: F811
) -> None:
    until(lambda: generator.health()["last_offset"] > 1000)
    restaurant.run(STRICT)
    run(generator, shard="0/2", max_events_per_run=50)
    letters = run(generator, shard="1/2", max_events_per_run=400)["dead_letters"]
    restaurant.run(LAX)
    part = ("--shard", "1/2")
    assert "no open dead letters" in cli("dead-letters", "list").out
    (group,) = cli("dead-letters", "list", *part, "--json").json["groups"]
    assert (group["count"], letters > 3) == (letters, True)
    shown = cli("status", "--stream", "restaurant").out
    assert "stream restaurant, shard 0/2" in shown
    assert "stream restaurant, shard 1/2" in shown
    assert "restaurant_stream_offset_1_of_2" in shown
    looked = cli("doctor", *part, "--json").json
    (found,) = looked["findings"]
    assert found["code"] == "dead_letters_open"
    assert "list --stream restaurant --shard 1/2 " in found["repair"]

    ti = SimpleNamespace(
        dag_id="d", task_id="t", run_id="r", map_index=-1, try_number=1, log_url="http://log"
    )
    replay = DeadLetterReplayOperator(task_id="t", shard="1/2", limit=1)
    assert replay.execute({"ti": ti})["landed"] == 1
    assert cli("dead-letters", "replay", "--all", *part, "--json").json["landed"] == letters - 1
    assert cli("doctor", *part).code == 0

    assert cli("reset", "--stream", "restaurant", *part, "--to", "beginning", "--yes").code == 0
    again = run(generator, shard="1/2", max_events_per_run=400)
    assert (again["duplicates"], again["dead_letters"]) == (400, 0)
    assert run(generator, shard="0/2", max_events_per_run=10)["duplicates"] == 0
