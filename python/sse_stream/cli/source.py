"""Which source a command reads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sse_stream.errors import ConfigError
from sse_stream.hooks import source_settings
from sse_stream.probe import check_url

from .connections import from_airflow

__all__ = ["add_source", "source"]

# What they carry would be seen by every user of the machine.
_SECRET = {"authorization", "proxy-authorization", "cookie"}
_TLS_FILES = ("ca_file", "client_cert", "client_key")


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the URL and the options that say how it is asked."""
    parser.add_argument(
        "url", metavar="URL", help="address of the stream; its path, with --source-conn"
    )
    group = parser.add_argument_group("source")
    group.add_argument(
        "--source-conn", metavar="ID", help="Airflow connection with address and credentials"
    )
    group.add_argument(
        "--header",
        metavar="NAME:TEXT",
        action="append",
        default=[],
        help="sent with every request; none with a secret",
    )
    group.add_argument(
        "--bearer-file", metavar="FILE", type=Path, help="file with a token, sent as bearer"
    )
    group.add_argument("--ca-file", metavar="FILE", help="certificates to trust, in PEM")
    group.add_argument("--client-cert", metavar="FILE", help="our certificate, in PEM")
    group.add_argument("--client-key", metavar="FILE", help="its key, in PEM")


def source(options: argparse.Namespace) -> dict[str, Any]:
    """Return the engine's ``source`` settings.

    Raises:
        ConfigError: the URL, a header or a file is wrong, or a secret is on the command line.
    """
    headers = dict(_header(text) for text in options.header)
    if options.bearer_file is not None:
        headers["Authorization"] = f"Bearer {secret(options.bearer_file, 'the token')}"
    if options.source_conn is None:
        url = check_url(options.url, "URL")
        if "@" in url.split("/", 3)[2]:
            raise ConfigError(
                "a password on the command line is visible to every user of this machine; "
                "put it into a connection (--source-conn) or a token into --bearer-file"
            )
    conn_id = options.source_conn
    settings = (
        source_settings(options.url, conn_id=None, headers=headers)
        if conn_id is None
        else from_airflow(
            conn_id, lambda: source_settings(options.url, conn_id=conn_id, headers=headers)
        )
    )
    files = {name: getattr(options, name) for name in _TLS_FILES}
    return {**settings, **{name: path for name, path in files.items() if path is not None}}


def secret(path: Path, what: str) -> str:
    """Return the first line of a file.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    try:
        line = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the file {str(path)!r} with {what} cannot be read: {type(error).__name__}"
        ) from None
    if not line or "\n" in line:
        raise ConfigError(f"the file {str(path)!r} with {what} is not one line of text")
    return line


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigError("--header is not written as NAME:TEXT")
    if name.strip().lower() in _SECRET:
        raise ConfigError(
            f"a secret in --header {name.strip()} is visible to every user of this machine; "
            "use --bearer-file or --source-conn"
        )
    return name.strip(), value.strip()
