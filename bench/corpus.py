"""The events that everybody lands: made once by our generator, the same in every run."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo import ports
from demo.http import get_json

from bench.plan import WORK, BenchError, program

# Within one day even when the corpus is played a hundred times, so that partitions are as in daily
# use; the feedback falls into the corpus.
SHAPE = ("--seed=1", "--start=2026-01-15T00:00:00Z", "--rate=20", "--feedback-delay=1s..60s")
START_SECONDS = 20
_TYPE = re.compile(rb"^event: (\w+)$", re.MULTILINE)


@dataclass(frozen=True)
class Corpus:
    """A file of SSE blocks with the ids 1 to `events`."""

    path: Path
    events: int
    kinds: tuple[str, ...] = field(repr=False)

    def counts(self, events: int) -> dict[str, int]:
        """Return how many of the first `events` there are by type, also in further passes."""
        passes, rest = divmod(events, self.events)
        whole, part = Counter(self.kinds), Counter(self.kinds[:rest])
        return {kind: passes * whole[kind] + part[kind] for kind in whole}


def prepare(events: int) -> Corpus:
    """Return the corpus, making the file if there is none yet."""
    path = WORK / f"corpus-{events}.sse"
    if not path.exists():
        partial = path.with_suffix(".new")
        with partial.open("wb") as out:
            command = [str(program("restaurant-api")), "generate", f"--events={events}", *SHAPE]
            subprocess.run(command, stdout=out, check=True)
        partial.rename(path)
    kinds = tuple(match.decode() for match in _TYPE.findall(path.read_bytes()))
    if len(kinds) != events:
        raise BenchError(f"{path} holds {len(kinds)} events, not {events}: remove it")
    return Corpus(path, events, kinds)


@contextmanager
def generator(*options: str) -> Iterator[tuple[str, int]]:
    """Run the real generator and give its URL and process id once it answers."""
    port = ports.free_port()
    command = [str(program("restaurant-api")), "serve", f"--bind=127.0.0.1:{port}", *options]
    with (WORK / "generator.log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"restaurant-api did not start: see {WORK / 'generator.log'}")
            time.sleep(0.02)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        get_json(f"{url}/health")
    except OSError:
        return False
    return True


@contextmanager
def tool(name: str, *arguments: str) -> Iterator[int]:
    """Run one of our servers and give the port that it says."""
    process = subprocess.Popen(
        [str(program(name)), *arguments], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if words[:2] != [b"listening", b"on"]:
            raise BenchError(f"{name} did not start")
        yield int(words[2])
    finally:
        process.terminate()
        process.wait()
