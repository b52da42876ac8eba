"""From a feed nobody has described to typed tables, by the command line alone."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from feed_server import Answer, serve
from own_feed import COUNT, Feed, block, document
from psycopg2 import sql
from schema_database import Database, server_url, with_database

from sse_stream import Route, SSEStreamOperator, Stream
from sse_stream.__main__ import main

Cli = Callable[..., SimpleNamespace]


@pytest.fixture
def feed() -> Iterator[Feed]:
    """The feed, served."""
    feed = Feed()
    yield feed
    feed.close()


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An empty database, named by DATABASE_URL and as Airflow's connection."""
    server, name = Database(server_url()), f"own_{secrets.token_hex(4)}"
    server.run(sql.SQL("create database {}").format(sql.Identifier(name)))
    dsn = with_database(server_url(), name)
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("AIRFLOW_CONN_OWN", dsn.replace("postgresql://", "postgres://"))
    database = Database(dsn)
    yield database
    database.close()
    server.run(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    server.close()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command; returns code, output and JSON."""

    def call(*arguments: str) -> SimpleNamespace:
        capsys.readouterr()
        code = main(list(arguments))
        out, err = capsys.readouterr()
        found = json.loads(out) if "--json" in arguments and out else None
        return SimpleNamespace(code=code, out=out, err=err, json=found)

    return call


def test_from_inspect_to_typed_tables(
    feed: Feed, database: Database, cli: Cli, tmp_path: Path
) -> None:
    folder = str(tmp_path / "mine")
    look = ("inspect", feed.url, "--events", str(COUNT), "--seconds", "3", "--write", folder)
    found = cli(*look, "--name", "mine", "--json").json
    assert found["id"] == {"kind": "text", "place": "sse", "dense": False}
    assert (found["resume_class"], found["retry_ms"]) == ("replayable", 1500)
    assert found["types"] == dict.fromkeys(
        ("user.created", "order.placed", "order.shipped", "sensor", "note"), COUNT // 5
    )
    types = {each["name"]: each["type"] for each in found["columns"]["order.placed"]}
    assert types == {
        "order_id": "bigint",
        "order_total": "numeric",
        "order_lines": "jsonb",
        "placed_at": "timestamptz",
        "ip": "inet",
    }
    assert cli("migrate", "--preset", folder).code == 0
    sample = tmp_path / "captured.sse"
    sample.write_bytes(b"".join(block(number) for number in range(COUNT)))
    assert cli("validate", folder, "--sample", str(sample)).code == 0
    sample.write_bytes(sample.read_bytes() + b'id: x\nevent: sensor\ndata: {"value": "hot"}\n\n')
    refused = cli("validate", folder, "--sample", str(sample))
    assert refused.code == 1
    assert f"{COUNT} lands" in refused.out
    assert 'event x (sensor): dead letter, wrong_type: column "value"' in refused.out

    land = ("run", feed.url, "--preset", folder, "--json")
    part = cli(*land, "--until", "25").json
    assert (part["events_processed"], part["stop_reason"]) == (25, "until")
    report = cli(*land, "--drain").json
    assert (report["events_processed"], report["stop_reason"]) == (COUNT - 25, "caught_up")
    assert part["dead_letters"] == report["dead_letters"] == 0
    tables = {
        "mine.user_created",
        "mine.order_placed",
        "mine.order_shipped",
        "mine.sensor",
        "mine.note",
    }
    rows = {table: part["rows"][table] + report["rows"][table] for table in tables}
    assert rows == dict.fromkeys(tables, COUNT // 5)
    for number in range(COUNT):
        event_id, kind, data = document(number)
        assert row(database, f"mine.{kind.replace('.', '_')}", event_id) == data_of(kind, data)
    assert cli(*land, "--idle", "0.5").json["events_processed"] == 0
    assert cli("status", "--stream", "mine", "--json").json["streams"][0]["dead_letters"] == 0


def row(database: Database, table: str, event_id: str) -> dict[str, Any]:
    """A row as PostgreSQL writes it in JSON, without its key."""
    query = f"select to_jsonb(t) - 'sse_id' from {table} t where sse_id = %s"
    ((found,),) = database.run(query, event_id)
    return dict(found)


def data_of(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """The same by hand, for each type."""
    if kind == "user.created":
        user = data["user"]
        return {
            "user_id": user["id"],
            "user_name": user["name"],
            "user_address_city": "Köln",
            "user_address_zip": None,
            "created_at": data["createdAt"].replace(".250Z", ".25+00:00"),
            "tags": data["tags"],
        }
    if kind == "order.placed":
        millis = data["placedAt"] - 1_767_225_600_000
        return {
            "order_id": data["order"]["id"],
            "order_total": float(data["order"]["total"]),
            "order_lines": data["order"]["lines"],
            "placed_at": f"2026-01-01T00:00:00.{millis:03d}".rstrip("0").rstrip(".") + "+00:00",
            "ip": data["ip"],
        }
    if kind == "order.shipped":
        return {"order_id": data["order"]["id"], "parcel": data["parcel"], "day": data["day"]}
    if kind == "sensor":
        return data
    return {"text": data["text"], "user_id": data["user"]["id"]}


def test_a_run_ends_at_a_committed_offset_and_the_next_goes_on(
    feed: Feed, database: Database
) -> None:
    feed.count, feed.pause_seconds = 10_000, 0.002
    run = [sys.executable, "-m", "sse_stream", "run", feed.url, "--table", "raw.mine"]
    run.append("--auto-create")
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        before = count_raw(database)
        until(lambda before=before: count_raw(database) > before + 20)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err.decode()
        assert b"ended by stopped" in out
        assert b"committed offset" in err
    ((count, ids, last),) = database.run(
        "select count(*), count(distinct sse_id), max(event_offset) from raw.mine"
    )
    assert count == ids == last > 40
    assert [document(n)[0] for n in range(count)] == [
        each for (each,) in database.run("select sse_id from raw.mine order by event_offset")
    ]


def count_raw(database: Database) -> int:
    """Events landed so far."""
    ((there,),) = database.run("select to_regclass('raw.mine') is not null")
    return int(database.run("select count(*) from raw.mine")[0][0]) if there else 0


def until(check: Callable[[], bool]) -> None:
    """Wait for at most twenty seconds."""
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_raw_landing_without_ids_promises_no_more_than_it_can(database: Database, cli: Cli) -> None:
    with serve(lambda _: Answer(["data: 1\n\n", "data: 2\n\n"], stays=True)) as feed:
        land = ("run", feed.url, "--table", "raw.bare", "--auto-create", "--idle", "0.3", "--json")
        first, second = cli(*land).json, cli(*land).json
    assert [each["events_processed"] for each in (first, second)] == [2, 2]
    assert first["resume_class"] == second["resume_class"] == "none"
    assert "is lost" in second["guarantee"]
    looked = cli("doctor", "--table", "raw.bare", "--json")
    assert (looked.code, looked.json["stream"], looked.json["findings"]) == (0, "raw.bare", [])
    # What was sent between the two runs nobody knows; the books say so.
    gaps = "select noticed_by, first_missed, last_missed from sse_stream.gaps"
    assert database.run(gaps) == [("reconnect", 3, 3)]


def test_an_operator_lands_a_feed_in_fifteen_lines(feed: Feed, database: Database) -> None:
    database.run("create schema mine")
    database.run(
        "create table mine.sensors (sse_id text primary key, value numeric not null, unit text)"
    )
    assert main(["migrate"]) == 0
    operator = SSEStreamOperator(
        task_id="land",
        sse_url=feed.url,
        postgres_conn_id="own",
        offset_variable=None,
        max_events_per_run=COUNT,
        unknown_events="ignore",
        preset=Stream(
            name="mine",
            ids="text",
            routes=Route(
                event="sensor",
                table="mine.sensors",
                key="sse_id",
                columns={"sse_id": "$sse_id", "value": "/value", "unit": {"lower": "/unit"}},
            ),
        ),
    )
    report = operator.execute({})
    assert report["rows"] == {"mine.sensors": COUNT // 5}
    assert report["ignored"] == COUNT - COUNT // 5
    assert database.run("select distinct unit from mine.sensors order by 1") == [("c",), (None,)]


def test_secrets_and_contradictions_on_the_command_line_are_refused(
    feed: Feed, database: Database, cli: Cli, tmp_path: Path
) -> None:
    dsn = tmp_path / "dsn"
    dsn.write_text(server_url() + "\n")
    for arguments, part in (
        (["http://me:hunter2@127.0.0.1/stream", "--table", "raw.x"], "--source-conn"),
        (
            [feed.url, "--table", "raw.x", "--header", "Authorization: Bearer hunter2"],
            "--bearer-file",
        ),
        (
            [feed.url, "--table", "raw.x", "--database-url", "postgresql://me:hunter2@x/y"],
            "PGPASSWORD",
        ),
        ([feed.url], "--preset"),
        ([feed.url, "--table", "raw.x", "--conn-id", "nobody"], "no connection 'nobody'"),
        (["/s", "--table", "raw.x", "--source-conn", "nobody"], "no connection 'nobody'"),
        ([feed.url, "--preset", "restaurant", "--auto-create"], "--table"),
        ([feed.url, "--table", "raw.x", "--dsn-file", str(tmp_path / "none")], "cannot be read"),
    ):
        refused = cli("run", *arguments)
        assert (refused.code, part in refused.err, "hunter2" in refused.err) == (2, True, False), (
            refused
        )
    missing = cli(
        "run", feed.url, "--table", "raw.nowhere", "--dsn-file", str(dsn), "--events", "1"
    )
    assert (missing.code, "create table" in missing.err) == (1, True)
    unreached = cli(
        "run", "http://127.0.0.1:9/x", "--table", "raw.x", "--auto-create", "--seconds", "1"
    )
    assert unreached.code == 75
