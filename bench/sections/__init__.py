"""The sections: a module each, with a function `measure(laboratory, sections)`."""

from __future__ import annotations

# In the order in which they run.
FULL = (
    "throughput",
    "landing",
    "replay",
    "batches",
    "bad_events",
    "rollups",
    "distance",
    "latency",
    "fanout",
    "growth",
    "memory",
    "parser",
)
# Take as long as all others together, or need the whole stack: asked for by name.
ON_DEMAND = ("schema", "airflow_latency")
