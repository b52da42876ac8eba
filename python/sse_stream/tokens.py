"""Tokens for one look at a source; a run fetches and renews its own, in the engine."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from .probe import UnhealthyError, post_form, safe_url

__all__ = ["authorized"]


def authorized(
    headers: Mapping[str, str], source: Mapping[str, Any], *, timeout_seconds: float = 10
) -> dict[str, str]:
    """Return ``headers`` with a bearer token where ``source`` has ``oauth``, else as they are.

    ``source`` holds the engine's settings; the token's address is reached as the source is, by its
    authorities and proxy, but sees no client certificate.

    Raises:
        ConfigError: a file of ``source`` cannot be used.
        UnhealthyError: there was no token; the message holds no secret.
    """
    oauth = source.get("oauth")
    if oauth is None:
        return dict(headers)
    form = {"grant_type": "client_credentials"}
    form |= {name: oauth[name] for name in ("scope", "audience") if oauth.get(name)}
    own = {}
    if oauth.get("in_body"):
        form |= {name: oauth[name] for name in ("client_id", "client_secret")}
    else:
        login = f"{oauth['client_id']}:{oauth['client_secret']}"
        own["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    reached = {name: source[name] for name in ("ca_file", "proxy") if name in source}
    url = oauth["token_url"]
    answer = post_form(url, form, headers=own, tls=reached, timeout_seconds=timeout_seconds)
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        raise UnhealthyError(f"{safe_url(url)} answers without an access_token")
    if str(answer.get("token_type", "bearer")).lower() != "bearer":
        raise UnhealthyError(f"{safe_url(url)} answers with a token that is no bearer token")
    kept = {name: text for name, text in headers.items() if name.lower() != "authorization"}
    return {**kept, "Authorization": f"Bearer {token}"}
