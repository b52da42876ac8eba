"""The embedded server: a real one, private, and hard to break."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from urllib.parse import urlsplit

import psutil
import psycopg2
import pytest
from demo.postgres import PostgresError, Server
from running_demo import ROOT, await_true


def value(url: str, statement: str) -> object:
    with closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        row = cursor.fetchone()
        connection.commit()
        return row[0] if row else None


def postmaster(server: Server) -> int:
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def test_data_survives_a_stop_and_another_port(server: Server) -> None:
    server.start()
    with closing(psycopg2.connect(server.url)) as connection:
        connection.cursor().execute("create table kept as select 42 as answer")
        connection.commit()
    server.stop()
    assert not server.is_running()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server.port = probe.getsockname()[1]
    server.start()
    assert value(server.url, "select answer from kept") == 42


def test_starts_again_after_kill_9(server: Server) -> None:
    server.start()
    with closing(psycopg2.connect(server.url)) as connection:
        connection.cursor().execute("create table kept as select 42 as answer")
        connection.commit()
    os.kill(postmaster(server), signal.SIGKILL)
    await_true(lambda: not server.is_running(), 10)
    server.start()
    assert value(server.url, "select answer from kept") == 42


def test_a_stranger_with_the_killed_servers_number_is_left_alone(server: Server) -> None:
    server.start()
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines(keepends=True)
    os.kill(postmaster(server), signal.SIGKILL)
    await_true(lambda: not server.is_running(), 10)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            pid_file.write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
            server.start()
            assert value(server.url, "select 1") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_server_left_running_is_taken_over(server: Server) -> None:
    server.start()
    first = postmaster(server)
    server.start()
    assert postmaster(server) != first
    assert value(server.url, "select 1") == 1


def test_the_password_is_needed_and_hashed_with_scram(server: Server) -> None:
    server.start()
    wrong = urlsplit(server.url)
    for credentials in ("postgres:wrong", "postgres"):
        url = wrong._replace(netloc=f"{credentials}@127.0.0.1:{server.port}").geturl()
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(url, passfile=os.devnull)
    stored = value(server.url, "select rolpassword from pg_authid where rolname = 'postgres'")
    assert str(stored).startswith("SCRAM-SHA-256$")


def test_it_listens_on_loopback_only_and_never_as_root(server: Server) -> None:
    server.start()
    process = psutil.Process(postmaster(server))
    assert process.uids().effective != 0
    listening = [c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]


def test_a_busy_port_is_told(server: Server) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        server.port = holder.getsockname()[1]
        with pytest.raises(PostgresError, match="Address already in use"):
            server.start()


def test_run_gives_a_url_passes_the_exit_code_on_and_leaves_nothing() -> None:
    code = (
        "import os, sys, psycopg2; url = os.environ['TEST_DATABASE_URL'];"
        "psycopg2.connect(url).close(); print(url.rpartition(':')[2].partition('/')[0]); sys.exit(3)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "demo.postgres", "run", "--", sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(done.stdout))) != 0
