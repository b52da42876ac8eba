"""Who takes part, how each is started, and one measured run of one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.processes import tail

from bench.contest import GO, READY
from bench.figures import Sample
from bench.plan import ROOT, WORK, BenchError, program
from bench.server import Cluster

PEERS_PYTHON = WORK / "peers" / "bin" / "python"
# What contestants say on standard error.
LOG = WORK / "contestants.log"
LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Contestant:
    """One way to land events: a template database and the commands that run at the same time."""

    name: str
    template: str
    commands: tuple[tuple[str, ...], ...]
    slow: bool = False
    # What a reader must know of it beside its figures.
    note: str = ""


def ours(name: str, *options: str, template: str = "ours", note: str = "") -> Contestant:
    """Return the operator with options of `bench.ours`."""
    return Contestant(name, template, ((sys.executable, "-m", "bench.ours", *options),), note=note)


def peer(
    name: str,
    module: str,
    *options: str,
    template: str = "ours",
    processes: int = 1,
    slow: bool = False,
    note: str = "",
) -> Contestant:
    """Return a peer: a module of `bench.peers`, which runs in an environment of its own."""
    commands = tuple(
        (str(PEERS_PYTHON), "-m", f"bench.peers.{module}", *options)
        + ((f"--part={part}/{processes}",) if processes > 1 else ())
        for part in range(processes)
    )
    return Contestant(name, template, commands, slow, note)


def compete(
    contestant: Contestant,
    cluster: Cluster,
    database: str,
    stream: str,
    events: int,
    *,
    via: int | None = None,
    batch: int = 5000,
) -> tuple[Sample, dict[str, Any]]:
    """Let a contestant land `events` of the stream; `via` is a port in front of the server."""
    url = cluster.url(database)
    if via is not None:
        url = url.replace(f":{cluster.server.port}/", f":{via}/")
    told = (f"--stream={stream}", f"--database={url}", f"--events={events}", f"--batch={batch}")
    return measure([[*command, *told] for command in contestant.commands], cluster, events)


def copy_in(cluster: Cluster, database: str, folders: Sequence[Path], events: int) -> Sample:
    """Load prebuilt COPY files, one session per folder."""
    command = [str(program("copyin")), f"--url={cluster.url(database)}", *map(str, folders)]
    return measure([command], cluster, events)[0]


def measure(
    commands: Sequence[Sequence[str]], cluster: Cluster, events: int
) -> tuple[Sample, dict[str, Any]]:
    """Start all commands, let them go together when all are ready, and add up what they took."""
    environment = {**os.environ, "PYTHONPATH": _path(), "PYTHONDONTWRITEBYTECODE": "1"}
    with LOG.open("ab") as log:
        processes = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                cwd=WORK,
            )
            for command in commands
        ]
    try:
        for process in processes:
            _line(process, READY)
        cluster.settle()
        server, start = cluster.cpu_seconds(), time.monotonic()
        for process in processes:
            _say(process, GO)
        results = [json.loads(_line(process)) for process in processes]
        seconds = time.monotonic() - start
        for process in processes:
            process.wait(LIMIT_SECONDS)
        server = cluster.cpu_seconds() - server
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return (
        Sample(
            events=events,
            seconds=results[0]["seconds"] if len(results) == 1 else seconds,
            client_cpu=sum(each["cpu_seconds"] for each in results),
            server_cpu=server,
            rss_mib=sum(each["rss_peak_mib"] - each["rss_before_mib"] for each in results),
        ),
        results[0],
    )


def _path() -> str:
    # The engine's own build may be put before, to measure one that is not installed.
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def _line(process: subprocess.Popen[str], wanted: str | None = None) -> str:
    assert process.stdout is not None
    # What a library prints on the way is no answer.
    for line in process.stdout:
        text = line.strip()
        if text == wanted or (wanted is None and text.startswith("{")):
            return text
    command = " ".join(part for part in process.args if not str(part).startswith("--"))  # type: ignore[union-attr, misc]
    raise BenchError(f"{command} ended with code {process.wait()}\n{tail(LOG)}")


def _say(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
