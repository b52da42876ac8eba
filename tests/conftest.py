"""A PostgreSQL for the tests: TEST_DATABASE_URL, or a throw-away server for this run."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# For `pytest` started by its own name; `python -m pytest` has the checkout on its path already.
sys.path.insert(0, str(ROOT))

# A shell without job control starts background jobs deaf to Ctrl-C, and so would be every process
# that a test starts in order to interrupt it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_servers = ExitStack()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start a server if a collected test may need one and none was given."""
    wants_server = any(item.path.parent.name in ("integration", "docs") for item in session.items)
    given = os.environ.get("TEST_DATABASE_URL")
    if wants_server and not given and not session.config.option.collectonly:
        from demo import postgres

        server = _servers.enter_context(postgres.throw_away())
        os.environ["TEST_DATABASE_URL"] = server.url


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server."""
    _servers.close()
