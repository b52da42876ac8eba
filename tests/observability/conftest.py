"""The fixtures of the integration tests, which make database and generator."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "integration"
sys.path.insert(0, str(FOLDER))

_spec = importlib.util.spec_from_file_location("integration_fixtures", FOLDER / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

generator = _fixtures.generator
restaurant = _fixtures.restaurant
