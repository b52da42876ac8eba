"""Small JSON requests to our own servers on loopback."""

from __future__ import annotations

import json
import urllib.request
from decimal import Decimal
from typing import Any

# Never through a proxy of the user's environment: all addresses are on this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get_json(url: str, *, timeout_seconds: float = 5.0) -> Any:
    """Return the JSON at `url`, fractions as Decimal; raise OSError when there is no answer."""
    with _opener.open(url, timeout=timeout_seconds) as response:
        return json.loads(response.read(), parse_float=Decimal)
