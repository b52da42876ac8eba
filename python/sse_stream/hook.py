"""The connection type ``sse``: its form, its settings, and a test that opens the stream."""

from __future__ import annotations

import copy
import time
from http.client import HTTPException
from itertools import pairwise
from typing import Any

from ._airflow import BaseHook
from .errors import ConfigError
from .get_provider_info import BEHAVIOUR, FIELDS, HOOK_NAME
from .hooks import airflow_source
from .probe import UnhealthyError, request_stream
from .tokens import authorized

__all__ = ["SSEHook"]

# How long the test of a connection listens: long enough for a first event or a usual greeting.
_LISTEN_SECONDS = 5.0
_ENOUGH_EVENTS = 50
_CHUNK = 1 << 16


class SSEHook(BaseHook):
    """An Airflow connection to a source of server-sent events.

    Operators and triggers need only the connection's id; the hook is for your own code, and what
    Airflow's connection form and its Test button use.

    :param sse_conn_id: Airflow connection of the type ``sse`` (``http`` and ``https`` work as well)
    """

    conn_name_attr = "sse_conn_id"
    default_conn_name = "sse_default"
    conn_type = "sse"
    hook_name = HOOK_NAME

    def __init__(self, sse_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.sse_conn_id = sse_conn_id

    def get_conn(self) -> dict[str, Any]:
        """Return the engine's ``source`` settings: address, headers, certificates.

        They hold credentials: do not log them.
        """
        return self.settings("")

    def settings(self, path: str) -> dict[str, Any]:
        """Return the settings for ``path`` below the connection's host, or for an absolute URL.

        Raises:
            ConfigError: the connection makes no address or holds what is not supported.
        """
        return airflow_source(self.sse_conn_id, path or "/")

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields beyond Airflow's own, for Airflow before 3.2."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from flask_babel import lazy_gettext
        from wtforms import StringField

        return {
            name: StringField(lazy_gettext(label), widget=BS3TextFieldWidget())
            for name, label in FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form shows Airflow's own fields."""
        return copy.deepcopy(BEHAVIOUR)

    def test_connection(self) -> tuple[bool, str]:
        """Open the stream, listen for some seconds, and say what was heard.

        Returns whether it is an event stream, and one line: the style of its ids, its ``retry``,
        its heartbeat, its compression; or why it could not be opened.
        """
        try:
            extras = self.get_connection(self.sse_conn_id).extra_dejson or {}
            source = self.settings(str(extras.get("stream_path") or "/"))
            return True, _listen(source)
        except (ConfigError, UnhealthyError) as error:
            return False, str(error)


def _listen(source: dict[str, Any]) -> str:
    from . import _native

    url, headers = source["url"], authorized(source["headers"], source)
    parser, heard = _native.Parser(), _Heard()
    began = time.monotonic()
    with request_stream(
        url, headers=headers, tls=source, timeout_seconds=_LISTEN_SECONDS
    ) as stream:
        encoding = stream.headers.get("Content-Encoding", "none")
        while len(heard.ids) < _ENOUGH_EVENTS and time.monotonic() - began < _LISTEN_SECONDS:
            try:
                chunk = stream.read1(_CHUNK)
            except (OSError, HTTPException):
                break  # silence for as long as we listen, or the end
            if not chunk:
                heard.ended = True
                break
            heard.take(parser.feed(chunk))
    return heard.line(time.monotonic() - began, encoding)


class _Heard:
    """What a sample of a stream says about it."""

    def __init__(self) -> None:
        self.ids: list[bytes | None] = []
        self.types: set[str] = set()
        self.comments = 0
        self.retry: int | None = None
        self.ended = False

    def take(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            if item["type"] == "event":
                self.ids.append(item["id"] if item["own_id"] else None)
                self.types.add(item["event"])
            elif item["type"] == "comment":
                self.comments += 1
            elif item["type"] == "retry":
                self.retry = item["ms"]

    def line(self, seconds: float, encoding: str) -> str:
        retry = "not sent" if self.retry is None else f"{self.retry} ms"
        many = "s" if self.comments > 1 else ""
        heartbeat = f"{self.comments or 'no'} comment{many}"
        end = ", then the source ended the response" if self.ended else ""
        return (
            f"event stream; ids: {self._ids()}; retry: {retry}; "
            f"{len(self.ids)} events of {len(self.types)} types and {heartbeat} "
            f"in {seconds:.1f} s{end}; compression: {encoding}"
        )

    def _ids(self) -> str:
        if not self.ids:
            return "no event yet"
        own = [text for text in self.ids if text is not None]
        if not own:
            return "none, so nothing can be resumed"
        if not all(text.isdigit() for text in own):
            return "texts"
        numbers = [int(text) for text in own]
        grow = all(a < b for a, b in pairwise(numbers))
        return "growing integers" if grow else "integers that do not grow"
