"""The wall around `import sse_stream`, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

import sse_stream


def _fresh(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_no_airflow_and_no_native_code() -> None:
    loaded = _fresh(
        "import sys, sse_stream\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('airflow', 'sqlalchemy', 'psycopg2')"
        " or m == 'sse_stream._native'])"
    )
    assert loaded.strip() == "[]"


def test_processors_errors_and_presets_need_no_airflow() -> None:
    loaded = _fresh(
        "import sys\n"
        "from sse_stream import event_processor, SSEStreamError, ConfigError\n"
        "import sse_stream.presets, sse_stream.probe, sse_stream.hooks, sse_stream.health\n"
        "import sse_stream._native, sse_stream.__main__\n"
        "print('airflow' in sys.modules)"
    )
    assert loaded.strip() == "False"


def test_native_code_starts_no_thread_at_import() -> None:
    threads = _fresh("import os, sse_stream._native\nprint(len(os.listdir('/proc/self/task')))")
    assert threads.strip() == "1"


def test_every_public_name_is_found() -> None:
    for name in sse_stream.__all__:
        assert getattr(sse_stream, name) is not None
    assert set(sse_stream.__all__) <= set(dir(sse_stream))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(sse_stream, "SSEStreamOperatr")
