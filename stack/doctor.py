"""`doctor`: look at everything, change nothing, name each disagreement and what repairs it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stack import environment
from stack.contract import CONNECTIONS, STREAM, VARIABLE, Stack, StackError

RUNBOOK = "docs/runbook.md"
STALE_SECONDS = 300
# Findings of `python -m sse_stream doctor` under the names that this one gives them; what is not
# here keeps its own.
_NAMES = {
    "not_migrated": "migration_behind",
    "migration_pending": "migration_behind",
    "silent": "stale_data",
    "rewind_pending": "offset_variable_apart",
    "mirror_beyond": "offset_variable_apart",
    "mirror_counted": "offset_variable_apart",
    "mirror_not_a_number": "offset_variable_apart",
}


@dataclass(frozen=True)
class Finding:
    """One disagreement: a stable code, which is also the runbook's heading, and the way back."""

    code: str
    seen: str
    repair: str

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        yield f"{self.code}: {self.seen}"
        yield f"  repair  {self.repair}"
        yield f"  more    {RUNBOOK}#{self.code}"


def doctor(stack: Stack) -> int:
    """Print every finding; return 0 if there is none."""
    findings = list(examine(stack))
    for finding in findings:
        print(*finding.lines(), "", sep="\n")
    print(f"doctor: {len(findings)} findings" if findings else "doctor: nothing disagrees")
    return 1 if findings else 0


def examine(stack: Stack) -> Iterator[Finding]:
    """Yield what is wrong, outermost first: behind a missing engine nothing else can be seen."""
    missing = stack.engine_problems()
    for problem in missing:
        yield Finding(
            "engine_missing", problem, "install or start what is named, then doctor again"
        )
    if missing:
        return
    for problem in stack.setting_problems():
        yield Finding("setting_refused", problem, "correct it, then make up")
    if not _can_look(stack):
        return
    yield from busy_ports(stack)
    yield from _disks(stack)
    if not stack.is_running():
        yield Finding("not_running", "nothing of the stack runs", f"make up STACK={stack.kind}")
        return
    services = stack.services()
    for service in services:
        if not service.is_well:
            yield Finding(
                "service_unhealthy",
                f"service {service.name}: {service.state}",
                "make logs, then make up, which starts again what has ended",
            )
    yield from _within(stack, "the database", _database)
    if any(each.name == "postgres" and not _answers(stack) for each in services):
        return
    yield from _within(stack, "the stream", _stream)


def busy_ports(stack: Stack) -> list[Finding]:
    """Return the ports that somebody else listens on."""
    found = []
    for variable, (service, port, is_ours) in stack.ports().items():
        if not is_ours and _is_taken(port):
            found.append(
                Finding(
                    "port_busy",
                    f"port {port} of {service} is taken by {_holder(port)}",
                    f"stop that, or choose another port with {variable}=...",
                )
            )
    return found


def _can_look(stack: Stack) -> bool:
    return stack.kind != "compose" or not (
        environment.problems(environment.settings()) or not environment.path().exists()
    )


def _within(
    stack: Stack, what: str, look: Callable[[Stack], Iterator[Finding]]
) -> Iterator[Finding]:
    """Yield what `look` finds; that it cannot look is a finding too."""
    try:
        yield from look(stack)
    except StackError as error:
        yield Finding("cannot_look", f"{what}: {error}", "repair what stands above first")


def _answers(stack: Stack) -> bool:
    try:
        stack.lines("missing.sql", "postgres")
    except StackError:
        return False
    return True


def _database(stack: Stack) -> Iterator[Finding]:
    missing = stack.lines("missing.sql", "postgres")
    for name in missing:
        yield Finding(
            "role_missing", f"the server has no {name}", "make up: its migrate step makes it again"
        )
    if stack.kind == "compose":
        yield from _settings(stack)


def _settings(stack: Stack) -> Iterator[Finding]:
    found = stack.sql("settings.sql")
    given = environment.settings()
    wanted = {
        "max_connections": given["POSTGRES_MAX_CONNECTIONS"],
        "shared_buffers": str(_bytes(given["POSTGRES_SHARED_BUFFERS"])),
        "effective_cache_size": str(_bytes(given["POSTGRES_EFFECTIVE_CACHE_SIZE"])),
        "preloaded": "pg_stat_statements",
        "statements": "1",
    }
    for name, value in wanted.items():
        if found.get(name) != value:
            yield Finding(
                "setting_not_applied",
                f"PostgreSQL runs with {name} = {found.get(name)}, the settings say {value}",
                "make up: it starts the server again where its settings changed",
            )


def _stream(stack: Stack) -> Iterator[Finding]:
    since = stack.sql("counts.sql", stream=STREAM)["seconds since"]
    is_stale = since == "never" or int(since) > STALE_SECONDS
    if is_stale:
        yield Finding(
            "stale_data",
            f"the last event landed {since} seconds ago" if since != "never" else "nothing landed",
            "see that the generator answers and that the DAG is not paused: make check",
        )
    source = f"{_inner_api(stack)}/stream"
    done = stack.python("-m", "sse_stream", "doctor", "--json", "--source-url", source)
    try:
        # An image's entrypoint may have something to say before.
        told = json.loads(done.stdout[done.stdout.index("{") :])["findings"]
    except (ValueError, KeyError):
        words = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise StackError(f"python -m sse_stream doctor: {words[0]}") from None
    for each in told:
        code = _NAMES.get(each["code"], each["code"])
        if not (code == "stale_data" and is_stale):
            yield Finding(code, each["seen"], each["repair"])


def _inner_api(stack: Stack) -> str:
    """Return the generator's address as the place where Python runs knows it."""
    if stack.kind == "compose":
        return environment.settings()["RESTAURANT_API_URL"].rstrip("/")
    return stack.api_url


def _disks(stack: Stack) -> Iterator[Finding]:
    least = float(os.environ.get("DOCTOR_MIN_FREE_GB") or 2)
    for place, free in stack.free_bytes().items():
        if free < least * 1e9:
            yield Finding(
                "disk_low",
                f"{free / 1e9:.1f} GB are free for {place}, at least {least:g} are wanted",
                "make room; the restaurant_retention DAG drops what is old",
            )


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _holder(port: int) -> str:
    try:
        from demo.ports import holder
    except ImportError:  # psutil is in .venv only
        return "another process"
    return holder(port)


def _bytes(text: str) -> int:
    """Return PostgreSQL's notation of memory as bytes; without a unit its own blocks of 8 kB."""
    units = {"kB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
    number, unit = text.rstrip("kMGTB"), text.lstrip("0123456789 ")
    return int(number) * units.get(unit, 8192)


__all__ = ["CONNECTIONS", "Finding", "VARIABLE", "busy_ports", "doctor", "examine"]
