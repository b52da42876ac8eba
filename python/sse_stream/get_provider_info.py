"""What Airflow asks a provider package for: names only, so that asking costs nothing."""

from __future__ import annotations

from typing import Any

__all__ = ["BEHAVIOUR", "FIELDS", "HOOK_NAME", "get_provider_info"]

HOOK_NAME = "Server-Sent Events"
# Fields of the connection's form beyond Airflow's own, by name.
FIELDS = {
    "stream_path": "Path of the stream, for the test",
    "ca_file": "File of trusted authorities (PEM)",
    "client_cert": "File of the client certificate (PEM)",
    "client_key": "File of its private key (PEM)",
    "proxy": "Proxy: an address, or environment",
    "oauth_token_url": "OAuth: address of the token",
    "oauth_scope": "OAuth: scope",
    "oauth_audience": "OAuth: audience",
}
# How the form shows Airflow's own fields.
BEHAVIOUR: dict[str, Any] = {
    "hidden_fields": [],
    "relabeling": {
        "host": "Base URL or host",
        "schema": "Scheme (http or https)",
        "login": "User (basic), or client id (OAuth); empty for a bearer token",
        "password": "Password, client secret or bearer token",
    },
    "placeholders": {
        "host": "https://feed.example",
        "schema": "https",
        "extra": '{"headers": {"X-Api-Key": "..."}}',
        "stream_path": "/stream",
        "proxy": "http://proxy.example:3128",
        "oauth_token_url": "https://login.example/token",
    },
}

_LINK = {"version_added": "0.1.0", "type": "string", "default": "", "sensitive": False}


def get_provider_info() -> dict[str, Any]:
    """Return the description of this provider, valid against Airflow's ``provider_info`` schema."""
    return {
        "package-name": "airflow-provider-sse-stream",
        "name": HOOK_NAME,
        "description": "Server-sent events into PostgreSQL, exactly once.",
        "integrations": [
            {
                "integration-name": HOOK_NAME,
                "external-doc-url": "https://html.spec.whatwg.org/multipage/server-sent-events.html",
                "tags": ["protocol"],
            }
        ],
        "operators": _modules("operators", "replay"),
        "sensors": _modules("sensors"),
        "hooks": _modules("hook"),
        "triggers": _modules("triggers"),
        "connection-types": [
            {
                "connection-type": "sse",
                "hook-class-name": "sse_stream.hook.SSEHook",
                # From here on: read by Airflow 3.2 and later, which then import no hook.
                "hook-name": HOOK_NAME,
                "conn-fields": {
                    name: {"label": label, "schema": {"type": ["string", "null"]}}
                    for name, label in FIELDS.items()
                },
                "ui-field-behaviour": {
                    key.replace("_", "-"): value for key, value in BEHAVIOUR.items()
                },
            }
        ],
        "extra-links": [
            "sse_stream.links.StreamStatusLink",
            "sse_stream.links.DeadLettersLink",
        ],
        "config": {
            "sse_stream": {
                "description": "Pages that the operator's links open. The provider brings none.",
                "options": {
                    "status_url": {
                        **_LINK,
                        "description": (
                            "Your page about a stream, such as a dashboard. ``{stream}`` and "
                            "``{shard}`` are replaced. Empty: the link is inactive."
                        ),
                        "example": "https://grafana.example/d/sse?var-stream={stream}",
                    },
                    "dead_letters_url": {
                        **_LINK,
                        "description": (
                            "Your page about a stream's dead letters; as ``status_url``."
                        ),
                        "example": "https://grafana.example/d/letters?var-stream={stream}",
                    },
                },
            }
        },
    }


def _modules(*names: str) -> list[dict[str, Any]]:
    modules = [f"sse_stream.{name}" for name in names]
    return [{"integration-name": HOOK_NAME, "python-modules": modules}]
