"""From connections and environment to the plain settings the engine takes."""

from __future__ import annotations

import base64
import getpass
import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import ConfigError
from .probe import check_headers, check_url

__all__ = [
    "airflow_database",
    "airflow_source",
    "environment_database",
    "source_settings",
    "stream_status",
    "url_database",
]

_log = logging.getLogger(__name__)

_SCHEMES = {"postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"}
# What the engine understands of libpq's keywords, besides host, port, user, password, dbname.
_OPTIONS = (
    "hostaddr",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "options",
    "application_name",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "tcp_user_timeout",
    "target_session_attrs",
    "channel_binding",
)
_WEB_SCHEMES = {"http", "https"}
_TLS_FILES = ("ca_file", "client_cert", "client_key")
# Of the token endpoint; id and secret are the connection's login and password.
_OAUTH = {
    "oauth_token_url": "token_url",
    "oauth_scope": "scope",
    "oauth_audience": "audience",
    "oauth_in_body": "in_body",
}
_SOURCE_EXTRAS = ("headers", "stream_path", *_TLS_FILES, "proxy", *_OAUTH)
# Extras that belong to Airflow's own hook and say nothing about the server.
_HOOK_ONLY = {"cursor", "enable_log_db_messages", "client_encoding"}


def airflow_database(conn_id: str) -> dict[str, str]:
    """Return the engine's database settings of an Airflow connection.

    Raises:
        ConfigError: the connection is not PostgreSQL or asks for what is not supported.
    """
    from ._airflow import get_connection

    conn: Any = get_connection(conn_id)
    if conn.conn_type and conn.conn_type not in {"postgres", "postgresql"}:
        raise ConfigError(
            f"connection {conn_id!r} has the type {conn.conn_type!r}; use a postgres connection"
        )
    extras: Mapping[str, Any] = conn.extra_dejson or {}
    if extras.get("iam"):
        raise ConfigError(
            f"connection {conn_id!r} uses iam, which is not supported; use a password"
        )
    ignored = sorted(set(extras) - set(_OPTIONS) - _HOOK_ONLY)
    if ignored:
        _log.warning(
            "connection %r: extras not used by the engine: %s", conn_id, ", ".join(ignored)
        )
    return _settings(
        f"connection {conn_id!r}",
        host=conn.host,
        port=conn.port,
        user=conn.login,
        password=conn.password,
        dbname=conn.schema,
        options={name: extras[name] for name in _OPTIONS if extras.get(name) is not None},
    )


def airflow_source(conn_id: str, url: str) -> dict[str, Any]:
    """Return the engine's ``source`` settings of an Airflow connection.

    The connection's host, port and schema (``http`` or ``https``) make the address before a
    ``url`` that is a path; an absolute ``url`` stays as it is. Login and password are sent as
    basic credentials, a password alone as a bearer token. Its extra may hold ``headers`` (texts
    by name), as paths of PEM files ``ca_file`` (the authorities to trust instead of the
    system's), ``client_cert`` and ``client_key``, and ``proxy``: an address, or ``environment``
    for what ``HTTPS_PROXY`` and its kin say. With ``oauth_token_url`` login and password are the
    id and secret of OAuth 2 client credentials, for which that address gives a token, renewed
    before it expires and when the source refuses it; ``oauth_scope`` and ``oauth_audience`` go
    along, and ``oauth_in_body`` (true) sends id and secret in the body of that request.

    Raises:
        ConfigError: the connection does not make an address, or holds what is not supported.
    """
    from ._airflow import get_connection

    conn: Any = get_connection(conn_id)
    where = f"connection {conn_id!r}"
    # An empty field of the connection's form is a field that was not filled in.
    given: Mapping[str, Any] = conn.extra_dejson or {}
    extras = {name: value for name, value in given.items() if value is not None and value != ""}
    unknown = sorted(set(extras) - set(_SOURCE_EXTRAS))
    if unknown:
        raise ConfigError(
            f"{where} has unknown extras: {', '.join(unknown)}; "
            f"supported are {', '.join(_SOURCE_EXTRAS)}"
        )
    try:
        headers = check_headers(extras.get("headers"))
    except ConfigError as error:
        raise ConfigError(f"the extra of {where}: {error}") from None
    oauth = _oauth(where, conn, extras)
    if conn.password and not oauth and not any(name.lower() == "authorization" for name in headers):
        headers["Authorization"] = _authorization(conn.login, conn.password)
    address = _address(where, conn) + url if url.startswith("/") else url
    settings = {"url": check_url(address, f"the address of {where}"), "headers": headers}
    for name in _TLS_FILES:
        path = extras.get(name)
        if path is not None:
            if not isinstance(path, str):
                raise ConfigError(f"{name} in the extra of {where} is not the path of a file")
            settings[name] = path
    proxy = extras.get("proxy")
    if proxy is not None:
        settings["proxy"] = _proxy(where, proxy)
    return {**settings, **oauth}


def source_settings(url: str, *, conn_id: str | None, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the engine's ``source`` settings of a task: its own headers win.

    Raises:
        ConfigError: the URL or the connection is wrong.
    """
    if conn_id is None:
        return {"url": check_url(url), "headers": dict(headers)}
    source = airflow_source(conn_id, url)
    own = {name.lower() for name in headers}
    kept = {name: text for name, text in source["headers"].items() if name.lower() not in own}
    return {**source, "headers": {**kept, **headers}}


def _address(where: str, conn: Any) -> str:
    host = str(conn.host or "")
    if "://" not in host:
        kinds = (conn.schema, conn.conn_type)
        scheme = next((kind for kind in kinds if kind in _WEB_SCHEMES), "http")
        host = f"{scheme}://{host}"
    if conn.port and not _has_port(host):
        address, slash, path = host.partition("://")[2].partition("/")
        host = f"{host.partition('://')[0]}://{address}:{conn.port}{slash}{path}"
    if "@" in host:
        raise ConfigError(f"the host of {where} holds credentials; use login and password")
    return host.rstrip("/")


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return True  # a wrong one, which is said where the address is checked


def _proxy(where: str, proxy: Any) -> str:
    if proxy == "environment":
        return "environment"
    # It may hold a password, so it is never quoted.
    if not isinstance(proxy, str) or urlsplit(proxy).scheme not in _WEB_SCHEMES:
        raise ConfigError(
            f"proxy in the extra of {where} is neither an http(s) address nor 'environment'"
        )
    return proxy


def _oauth(where: str, conn: Any, extras: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: extras[name] for name in _OAUTH if name in extras}
    if not given:
        return {}
    if "oauth_token_url" not in given or not (conn.login and conn.password):
        raise ConfigError(
            f"{where} asks for OAuth but lacks oauth_token_url in its extra, login (the client id) "
            "or password (the client secret)"
        )
    if not isinstance(given.get("oauth_in_body", False), bool):
        raise ConfigError(f"oauth_in_body in the extra of {where} is not true or false")
    check_url(str(given["oauth_token_url"]), f"oauth_token_url in the extra of {where}")
    known = {_OAUTH[name]: value for name, value in given.items()}
    return {"oauth": {**known, "client_id": conn.login, "client_secret": conn.password}}


def _authorization(login: str | None, password: str) -> str:
    if not login:
        return f"Bearer {password}"
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()


def stream_status(conn_id: str, stream: str | None = None) -> dict[str, Any]:
    """Return the engine's books behind an Airflow connection: offsets, last runs, migrations.

    Raises:
        DatabaseError: the database cannot be reached.
        SchemaError: it was never migrated.
    """
    from . import _native

    return _native.status(json.dumps(airflow_database(conn_id)), stream)


def url_database(url: str, *, where: str, password: str | None = None) -> dict[str, str]:
    """Return the engine's database settings of a ``postgresql://`` URL.

    ``where`` names the URL's origin in error messages; the URL itself is never quoted,
    because it may hold a password. ``password`` is used where the URL has none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(
            f"{where} is not a valid URL; use postgresql://user@host:port/db"
        ) from error
    if parts.scheme not in _SCHEMES:
        raise ConfigError(f"{where} is not a postgresql:// URL")
    query = dict(parse_qsl(parts.query))
    unknown = sorted(set(query) - set(_OPTIONS) - {"host", "port", "user", "password", "dbname"})
    if unknown:
        raise ConfigError(f"{where} has unsupported parameters: {', '.join(unknown)}")
    return _settings(
        where,
        host=_text(parts.hostname) or query.get("host"),
        port=port or query.get("port"),
        user=_text(parts.username) or query.get("user"),
        password=_text(parts.password) or query.get("password") or password,
        dbname=_text(parts.path.lstrip("/")) or query.get("dbname"),
        options={name: query[name] for name in _OPTIONS if name in query},
    )


def environment_database(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the database settings of ``DATABASE_URL``, else of ``PGHOST`` and its kin."""
    url = environment.get("DATABASE_URL")
    if url:
        return url_database(url, where="DATABASE_URL", password=environment.get("PGPASSWORD"))
    if not (environment.get("PGHOST") or environment.get("PGDATABASE")):
        raise ConfigError("no database is named; set DATABASE_URL or PGHOST, or use --conn-id")
    names = {
        "sslmode": "PGSSLMODE",
        "sslrootcert": "PGSSLROOTCERT",
        "sslcert": "PGSSLCERT",
        "sslkey": "PGSSLKEY",
        "options": "PGOPTIONS",
        "application_name": "PGAPPNAME",
        "connect_timeout": "PGCONNECT_TIMEOUT",
    }
    return _settings(
        "the environment",
        host=environment.get("PGHOST"),
        port=environment.get("PGPORT"),
        user=environment.get("PGUSER"),
        password=environment.get("PGPASSWORD"),
        dbname=environment.get("PGDATABASE"),
        options={name: environment[var] for name, var in names.items() if environment.get(var)},
    )


def _settings(
    where: str,
    *,
    host: str | None,
    port: str | int | None,
    user: str | None,
    password: str | None,
    dbname: str | None,
    options: Mapping[str, Any],
) -> dict[str, str]:
    name = user or getpass.getuser()
    settings = {
        "host": host or "localhost",
        "port": _port(where, port),
        "user": name,
        "dbname": dbname or name,
    }
    if password:
        settings["password"] = password
    settings.update({option: str(value) for option, value in options.items()})
    return settings


def _port(where: str, port: str | int | None) -> str:
    try:
        number = int(port) if port else 5432
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise ConfigError(f"the port of {where} is not a port number")
    return str(number)


def _text(part: str | None) -> str | None:
    return unquote(part) if part else None
