"""Rules and dashboard against a real Prometheus, which Debian has in its package `prometheus`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo import ports
from operator_stage import Generator
from schema_database import Database

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker" / "prometheus"
DASHBOARD = ROOT / "docker" / "grafana" / "dashboards" / "pipeline.json"
SECONDS = 60
# What is empty while all is well.
QUIET = ("ALERTS",)


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"no {name} on PATH: install Debian's prometheus"
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
)
def test_promtool_finds_nothing_wrong(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_runbook_says_what_to_do_about_each_alert() -> None:
    rules = (FOLDER / "rules.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert rules.count("runbook: docs/runbook.md#alerts\n") == len(alerts) > 5
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    section = runbook.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (\w+) \|", section, re.MULTILINE)[1:] == alerts


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


@pytest.fixture
def prometheus(restaurant: Database, generator: Generator, tmp_path: Path) -> Iterator[str]:
    """Prometheus with our own configuration, over metrics-api with orders and a run to look at."""
    restaurant.run(
        "set role restaurant_owner; insert into analytics.orders"
        " (order_id, service_type, order_ts, location_code, total)"
        " values (gen_random_uuid(), 'takeout', now(), 'LOC-ON-001', 1.00);"
        " insert into sse_stream.offsets (stream, epoch, position, last_heard_at)"
        f" values ('restaurant', '{ask(generator.url + '/health')['epoch']}', 1, now());"
        " insert into sse_stream.runs (stream, dag_id, run_id, ended_at)"
        " values ('restaurant', 'd', 'r', now())"
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    api, own = ports.free_port(), ports.free_port()
    text = (
        (FOLDER / "prometheus.yml")
        .read_text()
        .replace("scrape_interval: 5s", "scrape_interval: 1s")
    )
    text = text.replace("evaluation_interval: 5s", "evaluation_interval: 1s")
    for name, port in (("metrics-api:8010", api), ("127.0.0.1:9090", own)):
        assert name in text
        text = text.replace(name, f"127.0.0.1:{port}")
    text = text.replace("restaurant-api:8000", generator.url.removeprefix("http://"))
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(FOLDER / "rules.yml", tmp_path)
    listen, source = f"--listen=127.0.0.1:{api}", f"--source-url={generator.url}"
    commands = [
        [str(target / "release" / "metrics-api"), listen, source],
        [
            program("prometheus"),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{own}",
        ],
    ]
    with (tmp_path / "log").open("w") as log:
        running = [
            subprocess.Popen(
                command, env={**os.environ, "DATABASE_URL": restaurant.dsn}, stdout=log, stderr=log
            )
            for command in commands
        ]
        try:
            yield f"http://127.0.0.1:{own}"
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(20)


def test_every_query_is_understood_and_answered(prometheus: str) -> None:
    queries = [
        target["expr"]
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel["targets"]
    ]
    queries += re.findall(r"expr: (?!\|)(.+)", (FOLDER / "rules.yml").read_text())
    assert len(queries) > 25
    waiting = [query for query in queries if not query.rpartition(" > ")[0]]
    waiting = [
        query for query in waiting if not any(word in query for word in (*QUIET, "== 0", ">="))
    ]
    deadline = time.monotonic() + SECONDS
    while waiting:
        assert time.monotonic() < deadline, f"still without an answer: {waiting}"
        time.sleep(1)
        try:
            waiting = [query for query in waiting if not samples(prometheus, query)]
        except OSError:
            continue
    # The others look for trouble: understood, and none is found.
    for query in queries:
        samples(prometheus, query)
    groups = ask(f"{prometheus}/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    dropped = ask(f"{prometheus}/api/v1/targets")["data"]["activeTargets"]
    assert {each["labels"]["job"]: each["health"] for each in dropped} == {
        "metrics-api": "up",
        "restaurant-api": "up",
        "prometheus": "up",
    }


def samples(prometheus: str, query: str) -> list[Any]:
    found = ask(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    assert found["status"] == "success", query
    result: list[Any] = found["data"]["result"]
    return result
