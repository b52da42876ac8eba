"""Triggers on an event loop like the triggerer's, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from feed import Feed, until

from sse_stream import ConfigError, StreamEventTrigger, StreamTrigger, _native

HERE = Path(__file__).resolve().parent


def _trigger(feed: Feed, **arguments: Any) -> StreamTrigger:
    return StreamTrigger(sse_url=f"{feed.url}/stream", **arguments)


def _fire(trigger: Any, *, while_waiting: Any = None, seconds: float = 10) -> Any:
    """Run a trigger to its first event, as the triggerer does; returns the payload."""

    async def first() -> Any:
        task = asyncio.ensure_future(anext(trigger.run()))
        if while_waiting is not None:
            await asyncio.to_thread(while_waiting)
        event = await asyncio.wait_for(task, seconds)
        return event.payload

    return asyncio.run(first())


def test_the_first_event_behind_the_given_id_fires(feed: Feed) -> None:
    feed.send(count=5)

    def then_send() -> None:
        until(lambda: feed.listeners == 1)
        feed.send()

    seen = _fire(_trigger(feed, last_event_id="5"), while_waiting=then_send)
    assert seen == {"seen": "events", "events": 1, "last_event_id": "6", "epoch": None}
    assert feed.requests[0][1]["last-event-id"] == "5"
    until(lambda: feed.listeners == 0)


def test_a_lag_fires_when_so_many_events_wait(feed: Feed) -> None:
    feed.send(count=7)
    seen = _fire(_trigger(feed, last_event_id="0", events=6))
    assert (seen["events"], seen["last_event_id"]) == (6, "6")


def test_only_wanted_types_count_across_disconnects(feed: Feed) -> None:
    def then_send() -> None:
        until(lambda: feed.listeners == 1)
        feed.send(event="noise", count=9)
        feed.send(event="order")
        feed.drop()
        until(lambda: len(feed.requests) == 2 and feed.listeners == 1)
        feed.send(event="noise")
        feed.send(event="order")

    seen = _fire(_trigger(feed, types=["order"], events=2), while_waiting=then_send)
    assert (seen["events"], seen["last_event_id"]) == (2, "12")
    assert feed.requests[1][1]["last-event-id"] == "10"


_CONVENTIONS = """
[stream]
name = "s"
id = "/id"
ids = "text"
type = "/type"
resume = { query = "since" }
control = ["open"]
gap_event = "gap"
epoch_header = "X-Epoch"
"""


def test_the_presets_conventions_are_followed(feed: Feed) -> None:
    def then_send() -> None:
        until(lambda: feed.listeners == 1)
        for kind in ("open", "gap", "other", "order"):
            feed.send(event=kind, data={"id": "x", "type": kind})

    trigger = _trigger(feed, preset=_CONVENTIONS, last_event_id="abc", types=["order"])
    seen = _fire(trigger, while_waiting=then_send)
    assert (seen["events"], seen["last_event_id"], seen["epoch"]) == (1, "4", "one")
    path, headers = feed.requests[0]
    assert path == "/stream?since=abc"
    assert "last-event-id" not in headers
    assert _fire(_trigger(feed, preset=_CONVENTIONS, events=0))["epoch"] == "one"


def test_what_is_no_data_wakes_nobody(feed: Feed) -> None:
    feed.send(event="open", data={"id": "x", "type": "open"})
    config = json.loads(_trigger(feed, preset=_CONVENTIONS).config())
    del config["preset"]
    config = {**config, "last_event_id": "0"}
    assert _native.look(json.dumps(config), seconds=5) is not None
    told = json.dumps(
        {**config, "preset": _CONVENTIONS.replace('{ query = "since" }', '"last-event-id"')}
    )
    assert _native.look(told, seconds=0.5) is None


def test_a_sign_of_life_is_enough_where_no_events_are_asked_for(feed: Feed) -> None:
    assert _fire(_trigger(feed, events=0))["seen"] == "life"


def test_a_refusal_is_told_and_not_raised(feed: Feed) -> None:
    feed.status = 403
    seen = _fire(_trigger(feed))
    assert seen["error"] == "SourceRejectedError"
    assert "403" in seen["message"]


def test_a_patient_trigger_waits_for_a_source_that_refuses(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_stream.triggers._FIRST_PAUSE", 0.05)
    feed.status = 403

    def then_open() -> None:
        until(lambda: len(feed.requests) >= 2)
        feed.status = 200

    assert _fire(_trigger(feed, events=0, patient=True), while_waiting=then_open)["seen"] == "life"


def test_cancelling_closes_the_connection_and_nothing_else(feed: Feed) -> None:
    async def cancel_one_of_two() -> None:
        one, other = _trigger(feed), _trigger(feed)
        tasks = [asyncio.ensure_future(anext(each.run())) for each in (one, other)]
        await asyncio.to_thread(until, lambda: feed.listeners == 2)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        await one.cleanup()
        await asyncio.to_thread(until, lambda: feed.listeners == 1)
        feed.send()
        assert (await tasks[1]).payload["seen"] == "events"

    asyncio.run(cancel_one_of_two())


def test_a_trigger_is_made_again_from_what_is_stored(feed: Feed) -> None:
    made = _trigger(feed, sse_conn_id="c", postgres_conn_id="p", stream="s", shard=2, events=3)
    path, arguments = made.serialize()
    assert path == "sse_stream.triggers.StreamTrigger"
    assert json.loads(json.dumps(arguments)) == arguments
    assert StreamTrigger(**arguments).serialize() == (path, arguments)


def test_credentials_are_looked_up_where_the_trigger_runs(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FEED", f"http://:s3cret@127.0.0.1:{feed.port}")
    trigger = StreamTrigger(sse_url="/stream", sse_conn_id="feed", events=0)
    assert "s3cret" not in repr(trigger.serialize())
    _fire(trigger)
    assert feed.requests[0][1]["authorization"] == "bearer s3cret"


def test_credentials_in_the_address_are_refused() -> None:
    with pytest.raises(ConfigError, match="sse_conn_id") as refused:
        StreamTrigger(sse_url="http://user:s3cret@host/stream")
    assert "s3cret" not in str(refused.value)


def test_the_event_trigger_fires_again_for_what_is_new_only(feed: Feed) -> None:
    async def two() -> list[Any]:
        trigger = StreamEventTrigger(sse_url=f"{feed.url}/stream", stream="s", min_seconds=0.1)
        events = trigger.run()
        first = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(until, lambda: feed.listeners == 1)
        feed.send()
        seen = [(await first).payload]
        second = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(until, lambda: len(feed.requests) == 2)
        assert not second.done()
        feed.send(count=2)
        seen.append((await asyncio.wait_for(second, 10)).payload)
        await events.aclose()
        return seen

    first, second = asyncio.run(two())
    assert (first["stream"], first["last_event_id"]) == ("s", "1")
    assert second["last_event_id"] == "2"


def test_a_forked_child_has_a_runtime_of_its_own(feed: Feed) -> None:
    """A runtime inherited by a fork has no thread: waits on it would never end."""
    code = (
        "import asyncio, json, os, sys\n"
        "from sse_stream import _native\n"
        "async def seen():\n"
        "    config = json.dumps({'source': {'url': sys.argv[1]}, 'events': 0})\n"
        "    return await asyncio.wait_for(_native.watch(config), 10)\n"
        "assert asyncio.run(seen())['seen'] == 'life'\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if asyncio.run(seen())['seen'] == 'life' else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert asyncio.run(seen())['seen'] == 'life'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"{feed.url}/stream"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr


def test_a_setting_that_is_not_known_is_named() -> None:
    with pytest.raises(ConfigError, match="evnts"):
        _native.look(json.dumps({"source": {"url": "http://h/"}, "evnts": 1}), seconds=1)


def test_a_thousand_waits_fit_into_a_triggerer(feed: Feed) -> None:
    """1,000 triggers in one process with Airflow loaded: under 300 MB and under one core."""
    watching = subprocess.Popen(
        [sys.executable, str(HERE / "crowd_of_waits.py"), f"{feed.url}/stream", "1000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert watching.stdout is not None
        until(lambda: feed.listeners == 1000, seconds=60)
        feed.send(event="heartbeat-like", count=20)
        held = json.loads(watching.stdout.readline())
        feed.send(event="wanted")
        fired = json.loads(watching.stdout.readline())
        assert watching.wait(30) == 0
    finally:
        watching.kill()
        watching.wait()
    print(held, fired)
    assert held["megabytes"] < 300
    assert held["cpu_share"] < 1
    assert fired["fired"] == 1000
