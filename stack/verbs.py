"""The verbs that look or touch and are the same for both kinds of stack.

Each prints what it saw, returns 0 where all is well, and raises StackError with the reason where a
thing cannot be done at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone

from stack.contract import (
    BUSINESS,
    CONNECTIONS,
    DAG,
    METADATA,
    STREAM,
    Stack,
    StackError,
    get_json,
    require,
)

FRESH_SECONDS = 300
GROWTH_SECONDS = 120
RUN_SECONDS = 600
MUST_HOLD = ("raw", "orders", "payments", "audit")


def check(stack: Stack) -> int:
    """Ask every part for signs of life, from the outside in."""
    wrong = 0

    def line(name: str, problem: str) -> None:
        nonlocal wrong
        wrong += bool(problem)
        print(
            f"  {'FAIL' if problem else 'ok':<5} {name}{': ' if problem else ''}{problem}",
            flush=True,
        )

    for service in stack.services():
        line(f"service {service.name}", "" if service.is_well else service.state)
    line("generator /health", _trouble(lambda: _generator(stack)))
    line("Airflow /health", _trouble(lambda: _airflow(stack)))
    line("roles and databases", _trouble(lambda: _roles(stack)))
    line("connections and Variable of Airflow", _trouble(lambda: _connections(stack)))
    line("raw events", _trouble(lambda: _raw(stack)))
    print(f"check: {wrong} of the above failed" if wrong else "check: all is well")
    return 1 if wrong else 0


def verify(stack: Stack) -> int:
    """Show counts and freshness; the quality rules must hold and the offset must move."""
    before = stack.sql("counts.sql", stream=STREAM)
    for name, value in before.items():
        if name != "mirrored":
            print(f"  {name:<16}{value:>22}")
    wrong = [f"there are no {name}" for name in MUST_HOLD if before[name] == "0"]
    since = before["seconds since"]
    if since == "never" or int(since) > FRESH_SECONDS:
        wrong.append(f"the last event landed {since} s ago, at most {FRESH_SECONDS} are expected")
    wrong += stack.lines("rules.sql")
    if not _grows(stack, int(before["offset"])):
        wrong.append(f"the offset has stood at {before['offset']} for {GROWTH_SECONDS} s")
    print(*(f"  FAIL {each}" for each in wrong), sep="\n", end="\n" if wrong else "")
    print(f"verify: {len(wrong)} wrong" if wrong else "verify: data arrives, is fresh and agrees")
    return 1 if wrong else 0


def rollups(stack: Stack) -> int:
    """Compare the counted sales with the facts, and count anew what is wrong."""
    if not _differing(stack):
        print("rollups: what was counted is what the facts say")
        return 0
    for name, rows in stack.sql("count_anew.sql").items():
        print(f"  {name:<36}{rows}")
    if _differing(stack):
        raise StackError("counted anew, and still not what the facts say: please report it")
    print("rollups: counted anew from the facts")
    return 0


def _differing(stack: Stack) -> bool:
    found = stack.sql("rollups.sql")
    for name, differing in found.items():
        print(f"  {name:<36}{differing:>8} rows wrong")
    return any(differing != "0" for differing in found.values())


def smoke(stack: Stack) -> int:
    """Wait for a scheduled run to succeed, then compare every row with what the feed sent."""
    print("waiting for a scheduled run to succeed", flush=True)
    print(f"  run {_successful_run(stack)} succeeded", flush=True)
    done = stack.python("-m", "demo.compare")
    print(done.stdout.rstrip())
    if done.returncode != 0:
        raise StackError(f"comparing every row: {done.stderr.strip() or 'rows differ'}")
    print("smoke: every row of every table is what the events say")
    return 0


def trigger(stack: Stack) -> int:
    """Start a run by hand and show the last ten."""
    run_id = f"by_hand__{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S}"
    done = stack.python("-m", "airflow", "dags", "trigger", DAG, "--run-id", run_id)
    require(done, f"airflow dags trigger {DAG}")
    time.sleep(8)
    is_paused, runs = _runs(stack)
    for each, state in runs.items():
        print(f"  {state:<10}{each}{'   <- this one' if each == run_id else ''}")
    if run_id not in runs or runs[run_id] == "failed":
        raise StackError(f"run {run_id} is {runs.get(run_id, 'not among the last ten')}")
    if is_paused:
        raise StackError(f"{DAG} is paused, so the run waits: unpause it in Airflow")
    print(f"trigger: run {run_id} is {runs[run_id]}")
    return 0


def reset_data(stack: Stack) -> int:
    """Empty the raw table, go back to the beginning, and wait until all of it is there again."""
    before = stack.sql("counts.sql", stream=STREAM)
    with stack.quiet():
        before = stack.sql("counts.sql", stream=STREAM)
        stack.lines("forget_raw.sql")
        options = ("--stream", STREAM, "--to", "beginning", "--yes", "--set-variable")
        require(stack.python("-m", "sse_stream", "reset", *options), "python -m sse_stream reset")
        print(f"  {before['raw']} raw events removed, offset and Variable at 0", flush=True)
    wanted = int(before["offset"])
    _until(
        lambda: int(stack.sql("counts.sql", stream=STREAM)["offset"]) >= wanted,
        f"the offset is not back at {wanted}",
    )
    after = stack.sql("counts.sql", stream=STREAM)
    for name in ("raw", "orders", "order items", "payments", "feedback"):
        print(f"  {name:<16}{before[name]:>12} before {after[name]:>12} now")
        if int(after[name]) < int(before[name]):
            raise StackError(
                f"{name}: fewer than before; what the feed no longer has cannot return"
            )
    print("reset: raw events are back, facts stayed")
    return 0


def _successful_run(stack: Stack) -> str:
    found = ""

    def is_there() -> bool:
        nonlocal found
        is_paused, runs = _runs(stack)
        if is_paused:
            raise StackError(f"{DAG} is paused: unpause it in Airflow")
        failed = [each for each, state in runs.items() if state == "failed"]
        found = next((each for each, state in runs.items() if state == "success"), "")
        if failed and not found:
            raise StackError(f"run {failed[0]} failed: see its log in Airflow")
        return bool(found)

    _until(is_there, f"no run of {DAG} has succeeded")
    return found


def _runs(stack: Stack) -> tuple[bool, dict[str, str]]:
    rows = stack.sql("runs.sql", METADATA, dag=DAG)
    return rows.pop("paused", "false") == "true", rows


def _grows(stack: Stack, offset: int) -> bool:
    try:
        _until(
            lambda: int(stack.sql("counts.sql", stream=STREAM)["offset"]) > offset,
            "no growth",
            GROWTH_SECONDS,
        )
    except StackError:
        return False
    return True


def _until(is_so: Callable[[], bool], problem: str, seconds: float = RUN_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise StackError(f"{problem} after {seconds:.0f} s")
        time.sleep(2)


def _trouble(look: Callable[[], str]) -> str:
    try:
        return look()
    except (StackError, OSError, ValueError) as error:
        return " ".join(str(error).split())


def _generator(stack: Stack) -> str:
    return "" if get_json(f"{stack.api_url}/health") else "an empty answer"


def _airflow(stack: Stack) -> str:
    health = get_json(f"{stack.web_url}/health")
    parts = {name: health[name]["status"] for name in ("metadatabase", "scheduler", "triggerer")}
    return ", ".join(f"{name} is {state}" for name, state in parts.items() if state != "healthy")


def _roles(stack: Stack) -> str:
    missing = stack.lines("missing.sql", "postgres")
    return f"missing: {', '.join(missing)}" if missing else ""


def _connections(stack: Stack) -> str:
    wanted = CONNECTIONS if stack.kind == "compose" else ()
    rows = stack.lines("connections.sql", METADATA)
    missing = [name for name in (*wanted, "restaurant_stream_offset") if name not in rows]
    return f"missing: {', '.join(missing)}" if missing else ""


def _raw(stack: Stack) -> str:
    count = stack.sql("counts.sql", BUSINESS, stream=STREAM)["raw"]
    return "" if count != "0" else "there are none"
