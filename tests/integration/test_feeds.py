"""The presets of real feeds: recorded shapes, served with their quirks, into real tables."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import operator_stage
import pytest
from feed_server import Answer, Request, after, blocks, data, serve, sse_id
from psycopg2 import sql
from schema_database import Database, server_url, with_database

from sse_stream import SSEStreamOperator, operators
from sse_stream.__main__ import main
from sse_stream.errors import ConfigError

Use = Callable[..., dict[str, Any]]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An empty database, and the connection ``feeds`` to it."""
    server = Database(server_url())
    name = f"feeds_{secrets.token_hex(4)}"
    server.run(sql.SQL("create database {}").format(sql.Identifier(name)))
    dsn = with_database(server_url(), name)
    monkeypatch.setenv("DATABASE_URL", dsn)
    described = json.loads(operator_stage.connection(dsn))
    monkeypatch.setenv("AIRFLOW_CONN_FEEDS", json.dumps({**described, "extra": {}}))
    database = Database(dsn)
    try:
        yield database
    finally:
        database.close()
        server.run(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        server.close()


@pytest.fixture
def use(database: Database, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Run the operator with a preset, whose tables are made first."""
    variables: dict[str, str] = {}
    monkeypatch.setattr(operators, "read_variable", variables.get)
    monkeypatch.setattr(operators, "write_variable", variables.__setitem__)

    def run(preset: str, url: str, context: Any = None, **arguments: Any) -> dict[str, Any]:
        assert main(["migrate", "--preset", preset]) == 0
        operator = SSEStreamOperator(
            task_id="ingest",
            sse_url=url,
            preset=preset,
            postgres_conn_id="feeds",
            **{"timeout_seconds": 20, **arguments},
        )
        result: dict[str, Any] = operator.execute(context or {})
        return result

    return run


def rows(database: Database, table: str, *columns: str) -> list[tuple[Any, ...]]:
    return database.run(f"select {', '.join(columns)} from {table} order by 1, 2")


def test_wikimedia_closes_often_and_sends_canaries(database: Database, use: Use) -> None:
    recorded = blocks("wikimedia")

    def answer(request: Request) -> Answer:
        if not request.headers["user-agent"].startswith("sse_stream"):
            return Answer(status=403)
        rest = after(recorded, request.headers.get("last-event-id"))
        # Two blocks at a time: the quarter of an hour is over soon here.
        return Answer(["retry: 10\n\n", *rest[:2]], stays=len(rest) <= 2)

    with serve(answer) as feed:
        result = use("wikimedia", f"{feed.url}/v2/stream/recentchange", drain=True)
        assert result["stop_reason"] == "caught_up"
        assert result["reconnects"] >= 3
        # Whatever the last run ended with: it goes on there, and nothing comes twice.
        again = use("wikimedia", f"{feed.url}/v2/stream/recentchange", drain=True)
    assert (again["events_processed"], again["position"]) == (0, result["position"])
    assert (result["resume_class"], result["gaps"]) == ("window", 0)
    events = [json.loads(data(block)) for block in recorded if sse_id(block)]
    wanted = sorted(
        (event["meta"]["id"], event["title"], event["wiki"], event.get("length", {}).get("new"))
        for event in events
        if event["meta"]["domain"] != "canary"
    )
    table = "wikimedia.recent_changes"
    assert rows(database, table, "event_id::text", "title", "wiki", "length_after") == wanted
    stored = database.one("select resume_token from sse_stream.streams")
    assert stored == sse_id(recorded[-1])
    payloads = database.run(f"select payload from {table}")
    assert all(payload in events for (payload,) in payloads)


def test_wikimedia_by_data_intervals(database: Database, use: Use) -> None:
    recorded = blocks("wikimedia")
    asked: list[str] = []

    def answer(request: Request) -> Answer:
        asked.append(request.query.get("since", ""))
        token = request.headers.get("last-event-id")
        return Answer(["retry: 10\n\n", *after(recorded, token)], stays=True)

    start = datetime(2026, 11, 20, 12, 0, 3, tzinfo=timezone.utc)
    interval = {"data_interval_start": start, "data_interval_end": start + timedelta(seconds=5)}
    with serve(answer) as feed:
        for events in (3, 0):
            result = use("wikimedia", f"{feed.url}/stream", interval, interval_mode=True)
            assert (result["events_processed"], result["stop_reason"]) == (events, "until")
    moments = rows(database, "wikimedia.recent_changes", "happened_at", "title")
    assert [moment.second for moment, _ in moments] == [3, 6, 7]
    # A minute earlier, for what comes late; then behind what was read.
    assert asked == ["2026-11-20T11:59:03Z", ""]
    name = "wikimedia@2026-11-20T12:00:03Z/2026-11-20T12:00:08Z"
    assert database.one("select stream from sse_stream.offsets") == name


def test_mastodon_has_no_ids(database: Database, use: Use) -> None:
    recorded = blocks("mastodon")
    halves = [recorded[:4], recorded[4:]]

    def answer(request: Request) -> Answer:
        assert "last-event-id" not in request.headers
        half = halves.pop(0) if halves else []
        return Answer(["retry: 10\n\n", *half], stays=not halves, heartbeat=":thump\n\n")

    with serve(answer) as feed:
        result = use("mastodon", f"{feed.url}/api/v1/streaming/public", drain=True)
    assert (result["resume_class"], result["gaps"], result["dead_letters"]) == ("none", 1, 0)
    assert "lost" in result["guarantee"]
    statuses = rows(database, "mastodon.statuses", "status_id", "content", "edited_at is not null")
    assert [(status[-1], content, edited) for status, content, edited in statuses] == [
        ("1", "<p>Hello, world</p>", True),
        ("2", "<p>„Grüße“ \\o/</p>", False),
        ("3", "", False),
    ]
    assert rows(database, "mastodon.deletions", "status_id", "1") == [("115000000000000002", 1)]
    gap = database.run("select first_missed, noticed_by from sse_stream.gaps")
    assert gap == [(3, "reconnect")]
    start = datetime(2026, 11, 20, tzinfo=timezone.utc)
    interval = {"data_interval_start": start, "data_interval_end": start + timedelta(hours=1)}
    with pytest.raises(Exception, match="resume class none"):
        use("mastodon", "http://127.0.0.1:9/api", interval, interval_mode=True)


def test_mercure_says_where_its_answer_begins(database: Database, use: Use) -> None:
    recorded = blocks("mercure")

    def answer(request: Request) -> Answer:
        token = request.headers.get("last-event-id")
        head = {"Mercure-Last-Event-ID": token or "earliest"}
        assert request.headers["authorization"] == "Bearer jwt"
        if token is None:
            return Answer(["retry: 10\n\n", *recorded[:2]], headers=head)
        if sse_id(recorded[1]) == token:
            # The hub has trimmed its history: it goes on with the last update.
            head = {"Mercure-Last-Event-ID": sse_id(recorded[-2]) or ""}
            return Answer(recorded[-1:], headers=head)
        return Answer(headers=head, stays=True)

    with serve(answer) as feed:
        url = f"{feed.url}/.well-known/mercure?topic=*"
        headers = {"Authorization": "Bearer jwt"}
        result = use("mercure", url, drain=True, headers=headers)
    assert (result["events_processed"], result["gaps"]) == (2, 1)
    assert database.run("select first_missed, noticed_by from sse_stream.gaps") == [(2, "anchor")]
    updates = rows(database, "mercure.updates", "update_id", "update_type", "payload")
    kept = [recorded[1], recorded[-1]]
    wanted = [(sse_id(block), "message", json.loads(data(block))) for block in kept]
    assert updates == wanted


def test_ntfy_has_its_ids_in_the_data(database: Database, use: Use) -> None:
    recorded = blocks("ntfy")
    messages = [block for block in recorded if json.loads(data(block))["event"] == "message"]
    opening, keepalive = recorded[0], recorded[2]

    def answer(request: Request) -> Answer:
        since = request.query.get("since", "all")
        ids = [json.loads(data(block))["id"] for block in messages]
        rest = messages if since == "all" else messages[ids.index(since) + 1 :]
        # The ids of the signs of life lead nowhere.
        return Answer([opening, *rest[:1], keepalive], stays=len(rest) <= 1, heartbeat=keepalive)

    with serve(answer) as feed:
        url = f"{feed.url}/alerts/sse?since=all"
        first = use("ntfy", url, max_events_per_run=1)
        second = use("ntfy", url, drain=True)
    assert (first["events_processed"], second["events_processed"]) == (1, 2)
    ids = [json.loads(data(block))["id"] for block in messages]
    assert [request.query["since"] for request in feed.requests] == ["all", *ids[:2]]
    assert database.one("select resume_token from sse_stream.streams") == ids[2]
    assert second["dead_letters"] == 0
    landed = rows(database, "ntfy.messages", "message_id", "message", "sent_at", "tags")
    wanted = [json.loads(data(block)) for block in messages]
    assert landed == sorted(
        (
            message["id"],
            message["message"],
            datetime.fromtimestamp(message["time"], timezone.utc),
            message.get("tags"),
        )
        for message in wanted
    )


def test_horizon_says_hello_and_goodbye(database: Database, use: Use) -> None:
    recorded = blocks("horizon")
    hello, *operations, byebye = recorded

    def answer(request: Request) -> Answer:
        assert "last-event-id" not in request.headers
        cursor = request.query["cursor"]
        rest = operations if cursor == "now" else after(operations, cursor)
        return Answer([hello, *rest[:2], byebye] if rest else [hello], stays=not rest)

    with serve(answer) as feed:
        result = use("horizon", f"{feed.url}/payments?cursor=now", drain=True)
    assert (result["events_processed"], result["dead_letters"]) == (3, 0)
    assert result["position"] == int(sse_id(operations[-1]) or 0)
    amounts = rows(database, "horizon.operations", "paging_token", "operation_type", "amount")
    assert amounts == [
        (int(event["id"]), event["type"], Decimal(event["amount"]) if "amount" in event else None)
        for event in (json.loads(data(block)) for block in operations)
    ]


def test_llm_answers_once(database: Database, use: Use) -> None:
    recorded = blocks("llm")
    with serve(lambda _: Answer(recorded)) as feed:
        body = {"model": "small-1", "stream": True, "messages": [{"role": "user"}]}
        result = use("llm", f"{feed.url}/v1/chat/completions", body=body)
        assert (result["stop_reason"], result["events_processed"]) == ("done", 5)
        assert result["gaps"] == 0
    (request,) = feed.requests
    assert request.method == "POST"
    assert json.loads(request.body) == body
    assert request.headers["content-type"] == "application/json"
    text = database.run("select content, finish_reason, chunks from llm.completions")
    assert text == [('Two plus "two"\nis four.', "stop", 5)]
    # An answer that breaks off is no whole one, and is not asked for again by itself.
    with serve(lambda _: Answer(recorded[:3])) as feed:
        with pytest.raises(Exception, match="before it said"):
            use("llm", f"{feed.url}/v1/chat/completions", body=body)
        assert len(feed.requests) == 1


def test_oauth_tokens_are_fetched_renewed_and_told_to_nobody(
    database: Database,
    use: Use,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokens = iter(("first-token", "second-token"))

    def answer(request: Request) -> Answer:
        if request.path == "/token":
            assert request.body == b"grant_type=client_credentials&scope=read%20all"
            assert request.headers["authorization"] == "Basic Y2xpZW50OnMzY3JldCtA"
            granted = {"access_token": next(tokens), "token_type": "Bearer", "expires_in": 3600}
            return Answer([json.dumps(granted)], headers={"Content-Type": "application/json"})
        if request.headers["authorization"] == "Bearer first-token":
            return Answer(status=401)
        return Answer(blocks("ntfy"), stays=True)

    with serve(answer) as feed:
        connection = {
            "conn_type": "http",
            "host": feed.url,
            "login": "client",
            "password": "s3cret+@",
            "extra": {"oauth_token_url": f"{feed.url}/token", "oauth_scope": "read all"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_NTFY", json.dumps(connection))
        with caplog.at_level("DEBUG"):
            result = use("ntfy", "/alerts/sse", sse_conn_id="ntfy", drain=True)
    assert result["events_processed"] == 3
    assert [request.path for request in feed.requests] == [
        "/token",
        "/alerts/sse",
        "/token",
        "/alerts/sse",
    ]
    for secret in ("s3cret", "first-token", "second-token"):
        assert secret not in caplog.text


def test_bounds_are_checked_when_the_dag_is_parsed() -> None:
    def operator(**arguments: Any) -> SSEStreamOperator:
        return SSEStreamOperator(task_id="t", sse_url="http://h/s", **arguments)

    for wrong in ("tomorrow", "2026-11-20T12:00:00", True, -1, 2**63):
        with pytest.raises(ConfigError, match="until"):
            operator(until=wrong)
    with pytest.raises(ConfigError, match="remove one"):
        operator(until=5, interval_mode=True)
    with pytest.raises(ConfigError, match="body"):
        operator(body={1, 2})
    assert operator(until="{{ data_interval_end }}").until == "{{ data_interval_end }}"
