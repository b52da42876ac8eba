"""The file .env: made, completed, and refused where a secret is none."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from stack import environment
from stack.contract import StackError

SECRETS = [name for name in environment.read(environment.EXAMPLE) if environment.is_secret(name)]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in environment.read(environment.EXAMPLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STACK_ENV_FILE", str(tmp_path / ".env"))
    return tmp_path / ".env"


def test_it_is_made_with_a_random_secret_each_that_only_its_owner_reads(file: Path) -> None:
    assert sorted(environment.make()) == sorted(SECRETS)
    made = environment.read(file)
    assert environment.problems(made) == []
    assert len({made[name] for name in SECRETS}) == len(SECRETS) == 10
    assert len(base64.urlsafe_b64decode(made["AIRFLOW_FERNET_KEY"])) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    environment.require_secrets()


def test_two_files_share_no_secret(file: Path) -> None:
    environment.make()
    first = environment.read(file)
    file.unlink()
    environment.make()
    second = environment.read(file)
    assert not {first[name] for name in SECRETS} & {second[name] for name in SECRETS}


def test_what_stands_in_it_stays(file: Path) -> None:
    mine = "a" * 20
    file.write_text(f"AIRFLOW_EXTERNAL_PORT=9999\nRESTAURANT_DB_PASSWORD={mine}\nOF_MY_OWN=1\n")
    assert "RESTAURANT_DB_PASSWORD" not in environment.make()
    text = file.read_text()
    assert "AIRFLOW_EXTERNAL_PORT=9999\n" in text
    assert f"RESTAURANT_DB_PASSWORD={mine}\n" in text
    assert "OF_MY_OWN=1\n" in text
    assert environment.make() == []
    assert file.read_text() == text


def test_the_example_itself_is_refused(file: Path) -> None:
    file.write_text(environment.EXAMPLE.read_text())
    with pytest.raises(StackError) as refused:
        environment.require_secrets()
    assert all(f"{name} is empty" in str(refused.value) for name in SECRETS)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "is empty"),
        ("a1b2c3d4", "is shorter than"),
        ("restaurant_password_2025", "looks like an example"),
        ("CHANGE_ME_CHANGE_ME", "looks like an example"),
        ("a1b2c3d4e5f6@host/db", "holds more than letters"),
        ("a1b2c3d4e5f6$HOME", "holds more than letters"),
    ],
)
def test_a_weak_secret_is_refused_by_name_and_not_shown(file: Path, value: str, why: str) -> None:
    environment.make()
    found = {**environment.read(file), "AIRFLOW_DB_PASSWORD": value}
    (problem,) = environment.problems(found)
    assert problem.startswith(f"AIRFLOW_DB_PASSWORD {why}")
    assert not value or value not in problem


def test_one_secret_for_two_is_refused(file: Path) -> None:
    environment.make()
    found = environment.read(file)
    found["AIRFLOW_DB_PASSWORD"] = found["RESTAURANT_DB_PASSWORD"]
    assert environment.problems(found) == [
        "AIRFLOW_DB_PASSWORD is the same as RESTAURANT_DB_PASSWORD"
    ]


def test_a_key_is_changed_by_giving_both(file: Path) -> None:
    environment.make()
    found = environment.read(file)
    found["AIRFLOW_FERNET_KEY"] += "," + base64.urlsafe_b64encode(b"k" * 32).decode()
    assert environment.problems(found) == []
    found["AIRFLOW_FERNET_KEY"] += ","
    assert len(environment.problems(found)) == 1


def test_the_process_has_the_last_word_as_with_compose(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.make()
    monkeypatch.setenv("AIRFLOW_EXTERNAL_PORT", "1234")
    assert environment.settings()["AIRFLOW_EXTERNAL_PORT"] == "1234"
    assert environment.settings()["PGADMIN_EXTERNAL_PORT"] == "8080"
