"""The command line, with a real database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sse_stream.__main__ import main

TOML = """
[stream]
name = "mini"
[[route]]
event = "a"
table = "public.t"
mode = "insert"
key = ["id"]
columns = { id = "/id" }
"""


@pytest.fixture
def preset(tmp_path: Any) -> str:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "preset.toml").write_text(TOML)
    (tmp_path / "migrations" / "0001_t.sql").write_text("create table t (id int primary key);")
    return str(tmp_path)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "PGHOST", "PGDATABASE", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)


def test_migrate_twice_then_status(
    database: Any, preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.url)
    assert main(["migrate", "--preset", preset]) == 0
    assert "mini 1 t" in capsys.readouterr().out
    assert database.rows("select count(*) from t") == [(0,)]
    assert main(["migrate", "--preset", preset, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["status", "--preset", preset, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["streams"] == []
    assert status["migrations"]["mini"] == 1
    assert main(["status"]) == 0
    assert "mini=1" in capsys.readouterr().out


def test_a_failing_migration_names_it_and_leaves_nothing(
    database: Any,
    preset: str,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "migrations" / "0002_bad.sql").write_text("create table u (i int); selekt;")
    monkeypatch.setenv("DATABASE_URL", database.url)
    assert main(["migrate", "--preset", preset]) == 1
    error = capsys.readouterr().err
    assert "bad" in error
    assert database.rows("select to_regclass('u')::text") == [(None,)]


def test_status_of_a_database_without_migrations_says_what_to_do(
    database: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.url)
    assert main(["status"]) == 1
    assert "migrate" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret@h/d",
        "postgresql://u@h/d?password=s3cret",
        "postgresql://u:s3cret@h:x/d",
    ],
)
def test_a_password_on_the_command_line_is_refused(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--database-url", url]) == 2
    error = capsys.readouterr().err
    assert "PGPASSWORD" in error
    assert "s3cret" not in error


def test_a_url_takes_its_password_from_the_environment(
    database: Any, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = database.params
    monkeypatch.setenv("PGPASSWORD", params["password"])
    url = f"postgresql://{params['user']}@{params['host']}:{params['port']}/{params['dbname']}"
    assert main(["migrate", "--preset", preset, "--database-url", url]) == 0


def test_no_database_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 2
    assert "DATABASE_URL" in capsys.readouterr().err


def test_an_airflow_connection_is_used(
    database: Any, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = database.params
    conn = {
        "conn_type": "postgres",
        "host": params["host"],
        "port": int(params["port"]),
        "login": params["user"],
        "password": params["password"],
        "schema": params["dbname"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_DB", json.dumps(conn))
    assert main(["migrate", "--preset", preset, "--conn-id", "db"]) == 0


def test_the_doctor_cannot_look_at_a_database_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:s3cret@127.0.0.1:1/d")
    assert main(["doctor"]) == 2
    error = capsys.readouterr().err
    assert "d@127.0.0.1:1" in error
    assert "s3cret" not in error


def test_the_doctor_names_what_a_new_database_lacks(
    database: Any, preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.url)
    assert main(["doctor", "--preset", preset]) == 1
    assert f"migrate --preset {preset}" in capsys.readouterr().out
    main(["migrate", "--preset", preset])
    capsys.readouterr()
    assert main(["doctor", "--preset", preset, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in found["findings"]] == ["offset_missing"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["reset", "--stream", "mini", "--to", "x"], "beginning or head"),
        (["reset", "--stream", "mini", "--to", "-1"], "no offset"),
        (["reset", "--stream", "mini", "--to", "99999999999999999999"], "no offset"),
        (["reset", "--stream", "mini", "--to", "5"], "known streams: none"),
        (["reset", "--stream", "mini", "--to", "head"], "no source is named"),
        (["status", "--source-url", "ftp://x"], "not an http:// or https:// URL"),
        (["prune", "--settled-days", "0"], "settled_days is 0"),
        (["dead-letters", "replay"], "name letters by ID"),
        (["dead-letters", "replay", "1", "--all"], "name letters by ID"),
        (["dead-letters", "list", "--since", "soon"], "no age and no time"),
        (["dead-letters", "list", "--limit", "0"], "--limit is not a positive number"),
    ],
)
def test_wrong_usage_is_named_and_changes_nothing(
    database: Any,
    preset: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    part: str,
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.url)
    main(["migrate", "--preset", preset])
    assert main(arguments) == 2
    assert part in capsys.readouterr().err


def test_each_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    letters = [f"dead-letters {action}" for action in ("list", "show", "replay", "discard")]
    for command in ("migrate", "status", "doctor", "reset", "prune", *letters):
        with pytest.raises(SystemExit) as ended:
            main([*command.split(), "--help"])
        assert ended.value.code == 0
        assert "--conn-id" in capsys.readouterr().out
