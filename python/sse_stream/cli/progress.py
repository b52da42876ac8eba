"""One line of a terminal that says how far a run has come."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
from typing import TextIO

from .words import safe

__all__ = ["ProgressLine"]

# What the engine calls the lines that are told over and over.
_PROGRESS = "ingest::progress"
_WIPE = "\r\x1b[2K"


class ProgressLine:
    """Shows progress in place on a terminal, and as lines elsewhere."""

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self._out = out
        self._quiet = quiet
        self._lock = threading.RLock()
        self._live = out.isatty() and not quiet
        self._shown = False

    def log(self, level: int, target: str, message: str) -> None:
        """Take a line of the engine."""
        if self._live and level == logging.INFO and target == _PROGRESS and "committed" in message:
            self._show(message)
        else:
            name = logging.getLevelName(level).lower()
            self._write(f"{name}: {message}" if level >= logging.WARNING else message)

    def say(self, message: str) -> None:
        """Write a line of our own, unless quiet."""
        if not self._quiet:
            self._write(message)

    def end(self) -> None:
        """Leave the last state on the screen and go to the next line."""
        with self._lock:
            if self._shown:
                self._out.write("\n")
                self._out.flush()
            self._shown = False

    def _show(self, message: str) -> None:
        width = shutil.get_terminal_size((100, 24)).columns - 1
        with self._lock:
            self._out.write(_WIPE + safe(message)[:width])
            self._out.flush()
            self._shown = True

    def _write(self, message: str) -> None:
        with self._lock:
            wipe = _WIPE if self._shown else ""
            text = "\n".join(safe(line) for line in message.splitlines())
            print(f"{wipe}{text}", file=self._out or sys.stderr, flush=True)
            self._shown = False
