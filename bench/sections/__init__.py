"""The sections: a module each, with a function `measure(laboratory, sections)`."""

from __future__ import annotations

# In the order in which they run.
FULL = (
    "throughput",
    "landing",
    "replay",
    "batches",
    "bad_events",
    "distance",
    "latency",
    "fanout",
    "growth",
    "memory",
    "parser",
)
# Takes as long as all others together: asked for by name.
ON_DEMAND = ("schema",)
