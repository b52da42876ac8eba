"""One look at a source, without reading or committing anything.

This is deliberately not the engine's client: a probe must never retry, resume or wait
longer than it was told.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import IO, Any
from urllib.parse import unquote, urlencode, urljoin, urlsplit, urlunsplit

from .errors import ConfigError

__all__ = [
    "UnhealthyError",
    "check_headers",
    "check_url",
    "derive_health_url",
    "fetch_health",
    "open_stream",
    "post_form",
    "request_stream",
    "safe_url",
]

_MAX_JSON_BYTES = 1 << 20
# What this module itself sends. Any other header may be a key, whatever its name.
_OWN_HEADERS = {"accept", "cache-control", "user-agent"}
_DEFAULT_PORTS = {"http": 80, "https": 443}


class UnhealthyError(Exception):
    """The source cannot be used now; the message says why and holds no secret."""


def check_url(url: str, what: str = "sse_url") -> str:
    """Return ``url`` if it is an absolute http(s) URL.

    Raises:
        ConfigError: it is not; the message does not quote it.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise ConfigError(f"{what} is not an http:// or https:// URL; give an absolute one")
    return url


def check_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return ``headers`` as a dict if names and values are text.

    Raises:
        ConfigError: they are not; the message quotes no value.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise ConfigError("headers is not a dict of texts by name")
    for name, value in headers.items():
        if not isinstance(name, str) or not name:
            raise ConfigError(f"headers: the name {name!r} is not text")
        if not isinstance(value, str):
            raise ConfigError(
                f"headers: the value of {name!r} is of type {type(value).__name__}; give text"
            )
        if any(char < " " and char != "\t" for char in name + value):
            raise ConfigError(f"headers: {name!r} holds a line break or another control character")
    return dict(headers)


def safe_url(url: str) -> str:
    """Return ``url`` without what may hold a secret: user, password, query, fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def derive_health_url(sse_url: str) -> str | None:
    """Return the ``/health`` beside a ``.../stream`` or ``.../events``; None for other URLs."""
    parts = urlsplit(sse_url)
    head, slash, last = parts.path.rstrip("/").rpartition("/")
    if last not in {"stream", "events"}:
        return None
    return urlunsplit((parts.scheme, parts.netloc, f"{head}{slash}health", "", ""))


def fetch_health(
    health_url: str,
    *,
    headers: Mapping[str, str] | None = None,
    tls: Mapping[str, str] | None = None,
    timeout_seconds: float = 10,
) -> dict[str, Any]:
    """Return the JSON object of a health endpoint; an empty dict if it sends something else.

    ``tls`` holds paths of PEM files, ``ca_file``, ``client_cert`` and ``client_key``, and ``proxy``:
    an address, or ``environment``; without it none is used, whatever the environment says.

    Raises:
        ConfigError: a file of ``tls`` cannot be used.
        UnhealthyError: it did not answer 200 in time.
    """
    accept = "application/json, */*;q=0.1"
    with _ask(health_url, headers, tls, accept, timeout_seconds) as response:
        return _json_object(response)


def post_form(
    url: str,
    form: Mapping[str, str],
    *,
    headers: Mapping[str, str] | None = None,
    tls: Mapping[str, str] | None = None,
    timeout_seconds: float = 10,
) -> dict[str, Any]:
    """Post a form and return the JSON object of the answer; an empty dict if it is something else.

    A redirect is not followed, because it could lead what the form holds elsewhere; ``tls`` as for
    the health.

    Raises:
        ConfigError: a file of ``tls`` cannot be used.
        UnhealthyError: it did not answer 200 in time.
    """
    body = urlencode(form).encode()
    with _ask(url, headers, tls, "application/json", timeout_seconds, body) as response:
        return _json_object(response)


def open_stream(
    sse_url: str,
    *,
    headers: Mapping[str, str] | None = None,
    tls: Mapping[str, str] | None = None,
    timeout_seconds: float = 10,
) -> None:
    """Open the stream, wait for its first byte and close it; ``tls`` as for the health.

    Raises:
        ConfigError: a file of ``tls`` cannot be used.
        UnhealthyError: not 200, not ``text/event-stream``, or no byte in time.
    """
    with request_stream(
        sse_url, headers=headers, tls=tls, timeout_seconds=timeout_seconds
    ) as response:
        try:
            first = response.read(1)
        except (OSError, HTTPException) as error:
            raise UnhealthyError(f"{safe_url(sse_url)} sent no byte: {_cause(error)}") from error
        if not first:
            raise UnhealthyError(f"{safe_url(sse_url)} closed the stream without a byte")


def request_stream(
    sse_url: str,
    *,
    headers: Mapping[str, str] | None = None,
    tls: Mapping[str, str] | None = None,
    timeout_seconds: float = 10,
) -> HTTPResponse:
    """Open the stream and return the response, unread; ``tls`` as for the health.

    Raises:
        ConfigError: a file of ``tls`` cannot be used.
        UnhealthyError: not 200, or not ``text/event-stream``.
    """
    response = _ask(sse_url, headers, tls, "text/event-stream", timeout_seconds)
    mime = response.headers.get_content_type()
    if mime != "text/event-stream":
        response.close()
        raise UnhealthyError(f"{safe_url(sse_url)} sends {mime}, not text/event-stream")
    return response


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; the caller's headers do not follow to another origin."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        target = urljoin(req.full_url, newurl)
        try:
            check_url(target)
        except ConfigError:
            raise UnhealthyError(
                f"{safe_url(req.full_url)} redirects to what is not an http(s) URL"
            ) from None
        following = super().redirect_request(req, fp, code, msg, headers, target)
        if following is not None and _origin(target) != _origin(req.full_url):
            for name in list(following.headers):
                if name.lower() not in _OWN_HEADERS:
                    following.remove_header(name)
        return following


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the answer that it is."""

    def redirect_request(self, *_: Any) -> None:
        """Ask nobody else."""


class _Proxy(urllib.request.BaseHandler):
    """Asks one proxy for everything; exceptions from it (``NO_PROXY``) are the environment's."""

    # Before the handlers that write the request's own headers.
    handler_order = 100

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._place = (parts.netloc.rpartition("@")[2], parts.scheme)
        self._login = _basic(parts.username, parts.password) if parts.username else None

    def http_request(self, req: urllib.request.Request) -> urllib.request.Request:
        """Turn a request to the proxy, also one that follows a redirect."""
        req.set_proxy(*self._place)
        if self._login:
            req.add_unredirected_header("Proxy-Authorization", self._login)
        return req

    https_request = http_request


class _Secure(urllib.request.HTTPSHandler):
    """Shows the client certificate to the origin it is for, and to nobody else."""

    def __init__(self, url: str, tls: Mapping[str, str]) -> None:
        self._identified_origin = _origin(url)
        self._tls = tls
        super().__init__()

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Open a request with the context that its origin may see."""
        own = _origin(req.full_url) == self._identified_origin
        context = _context(self._tls, identified=own)
        return self.do_open(HTTPSConnection, req, context=context)


def _context(tls: Mapping[str, str], *, identified: bool) -> ssl.SSLContext:
    cert, key = tls.get("client_cert"), tls.get("client_key")
    if (cert is None) != (key is None):
        raise ConfigError("client_cert and client_key belong together; set both or none")
    try:
        context = ssl.create_default_context(cafile=tls.get("ca_file"))
    except OSError as error:
        raise ConfigError(
            f"ca_file cannot be read as certificates in PEM ({_cause(error)}); correct the path"
        ) from None
    if cert and identified:
        try:
            # Without a password OpenSSL would ask the terminal for one.
            context.load_cert_chain(cert, key, password="")
        except OSError as error:
            raise ConfigError(
                "client_cert and client_key cannot be read as certificate and unencrypted key in "
                f"PEM ({_cause(error)}); correct the paths"
            ) from None
    return context


def _ask(
    url: str,
    headers: Mapping[str, str] | None,
    tls: Mapping[str, str] | None,
    accept: str,
    timeout_seconds: float,
    body: bytes | None = None,
) -> HTTPResponse:
    parts = urlsplit(check_url(url, "URL"))
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    own = {"Accept": accept, "Cache-Control": "no-store"}
    request = urllib.request.Request(plain, data=body, headers=own)  # noqa: S310 (checked above)
    if parts.username:
        request.add_header("Authorization", _basic(parts.username, parts.password))
    for name, value in (headers or {}).items():
        # http.client writes Latin-1; an id of other signs goes out as it came, in UTF-8.
        request.add_header(name, value.encode().decode("latin-1"))
    redirects = _Redirects if body is None else _NoRedirects
    proxies = _proxies((tls or {}).get("proxy"))
    opener = urllib.request.build_opener(redirects, _Secure(url, tls or {}), *proxies)
    try:
        response: HTTPResponse = opener.open(request, timeout=timeout_seconds)
    except urllib.error.HTTPError as error:
        error.close()
        raise UnhealthyError(f"{safe_url(url)} answers {error.code}") from None
    except (OSError, HTTPException) as error:
        raise UnhealthyError(f"{safe_url(url)} cannot be reached: {_cause(error)}") from None
    if response.status != 200:
        response.close()
        raise UnhealthyError(f"{safe_url(url)} answers {response.status}")
    return response


def _proxies(proxy: str | None) -> list[urllib.request.BaseHandler]:
    if proxy == "environment":
        return []  # as urllib does by itself
    none = urllib.request.ProxyHandler({})
    return [none, _Proxy(proxy)] if proxy else [none]


def _basic(user: str | None, password: str | None) -> str:
    login = f"{unquote(user or '')}:{unquote(password or '')}".encode()
    return "Basic " + base64.b64encode(login).decode()


def _json_object(response: HTTPResponse) -> dict[str, Any]:
    try:
        body = json.loads(response.read(_MAX_JSON_BYTES))
    except (ValueError, OSError, HTTPException):
        return {}
    return body if isinstance(body, dict) else {}


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, BaseException) else error
    if isinstance(cause, TimeoutError):
        return "timed out"
    text = getattr(cause, "strerror", None) or type(cause).__name__
    return str(text).lower()
