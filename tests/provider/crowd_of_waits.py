"""So many triggers on one event loop, as the triggerer holds them; prints what they cost as JSON.

First line: while all wait and events come that none of them wants. Second: when all have fired.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from sse_stream import StreamTrigger


def megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)


async def main(url: str, count: int) -> None:
    made = StreamTrigger(sse_url=url, types=["wanted"])
    path, arguments = made.serialize()
    triggers = [type(made)(**arguments) for _ in range(count)]
    tasks = [asyncio.ensure_future(anext(each.run())) for each in triggers]
    await asyncio.sleep(3)
    began, used = time.monotonic(), time.process_time()
    await asyncio.sleep(2)
    share = (time.process_time() - used) / (time.monotonic() - began)
    say({"megabytes": megabytes(), "cpu_share": round(share, 3), "class": path})
    events = await asyncio.gather(*tasks)
    say({"fired": sum(event.payload["seen"] == "events" for event in events)})


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
