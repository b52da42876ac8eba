"""The file .env: made out of .env.example with random secrets, and refused where they are weak."""

from __future__ import annotations

import base64
import os
import re
import secrets
from pathlib import Path

from stack.contract import ROOT, StackError

EXAMPLE = ROOT / ".env.example"
KEYS = ("AIRFLOW_FERNET_KEY", "AIRFLOW_WEBSERVER_SECRET_KEY")
SHORTEST = 16
# Passwords stand in URLs; keys may also hold what base64 ends with.
_SAFE = re.compile(r"[A-Za-z0-9_-]+=*")
# A key is changed by giving the new one and the old one.
_KEYS = re.compile(rf"{_SAFE.pattern}(,{_SAFE.pattern})*")
_EXAMPLES = re.compile(r"change|example|password|secret|admin", re.IGNORECASE)


def path() -> Path:
    """Return the file in use: STACK_ENV_FILE, else .env of the checkout."""
    return Path(os.environ.get("STACK_ENV_FILE") or ROOT / ".env").resolve()


def is_secret(name: str) -> bool:
    """Say whether the variable holds a secret."""
    return name.endswith("_PASSWORD") or name in KEYS


def read(file: Path) -> dict[str, str]:
    """Return the variables of an environment file; nothing where there is none."""
    if not file.exists():
        return {}
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name.strip()] = value.strip()
    return found


def settings() -> dict[str, str]:
    """Return what the stack runs with: the defaults, over them the file, over them our process."""
    known = {**read(EXAMPLE), **read(path())}
    return {name: os.environ.get(name, value) for name, value in known.items()}


def make() -> list[str]:
    """Make the file or add what it lacks; return the names that were filled in.

    What stands in it stays. Only its owner may read it.
    """
    file = path()
    known = read(file)
    lines, filled = [], []
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if not equals or line.startswith("#"):
            lines.append(line)
            continue
        value = known.pop(name, "") or value
        if not value and is_secret(name):
            value = _random(name)
            filled.append(name)
        lines.append(f"{name}={value}")
    # A person's own variables, for a compose file of their own.
    lines += [f"{name}={value}" for name, value in known.items()]
    text = "\n".join(lines) + "\n"
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        partial = file.with_name(f"{file.name}.new")
        partial.touch(mode=0o600)
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
    return filled


def problems(found: dict[str, str]) -> list[str]:
    """Return, one line each, what is wrong with the secrets; never their content."""
    wrong: list[str] = []
    seen: dict[str, str] = {}
    for name in (name for name in read(EXAMPLE) if is_secret(name)):
        value = found.get(name, "")
        if not value:
            wrong.append(f"{name} is empty")
        elif len(value) < SHORTEST:
            wrong.append(f"{name} is shorter than {SHORTEST} characters")
        elif not (_KEYS if name in KEYS else _SAFE).fullmatch(value):
            wrong.append(f"{name} holds more than letters, digits, hyphen and underscore")
        elif name not in KEYS and _EXAMPLES.search(value):
            wrong.append(f"{name} looks like an example")
        elif value in seen:
            wrong.append(f"{name} is the same as {seen[value]}")
        seen.setdefault(value, name)
    return wrong


def require_secrets() -> None:
    """Raise StackError unless every secret is a real one."""
    wrong = problems(settings())
    if wrong:
        raise StackError(
            "\n".join([*wrong, f"nothing was started: empty them in {path()} and run make env"])
        )


def _random(name: str) -> str:
    if name == "AIRFLOW_FERNET_KEY":
        return base64.urlsafe_b64encode(os.urandom(32)).decode()
    # Letters and digits: it stands in URLs and in shells that people copy it to.
    return secrets.token_hex(16)
