"""The sections: a module each, with a function `measure(laboratory, sections)`."""

from __future__ import annotations

# In the order in which they run.
FULL = ("throughput",)
# Asked for by name.
ON_DEMAND: tuple[str, ...] = ()
