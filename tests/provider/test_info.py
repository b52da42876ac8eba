"""What Airflow learns about the provider."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import airflow
import jsonschema
import pytest

from sse_stream.get_provider_info import get_provider_info

INFO = get_provider_info()


def test_the_description_is_what_airflows_schema_asks_for() -> None:
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


@pytest.mark.parametrize("kind", ["operators", "sensors", "hooks", "triggers"])
def test_every_named_module_is_there(kind: str) -> None:
    for integration in INFO[kind]:
        for module in integration["python-modules"]:
            assert importlib.import_module(module).__all__


def test_airflow_finds_connection_type_links_and_options() -> None:
    # In a process of its own, through the entry point of what is installed.
    code = (
        "import json\n"
        "from airflow.providers_manager import ProvidersManager\n"
        "found = ProvidersManager()\n"
        "hook = found.hooks['sse']\n"
        "fields = [k for k in found.connection_form_widgets if 'sse' in k]\n"
        "print('RESULT' + json.dumps([hook.hook_name, hook.hook_class_name,"
        " hook.connection_id_attribute_name, sorted(fields),"
        " sorted(l for l in found.extra_links_class_names if 'sse_stream' in l),"
        " found.field_behaviours['sse']['relabeling']['login'],"
        " any('sse_stream' in section for _, section in found.provider_configs),"
        " 'airflow-provider-sse-stream' in found.providers]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    name, path, attribute, fields, links, login, options, listed = json.loads(
        done.stdout.partition("RESULT")[2]
    )
    assert (name, path) == ("Server-Sent Events", "sse_stream.hook.SSEHook")
    assert attribute == "sse_conn_id"
    assert [field.rpartition("__")[2] for field in fields] == [
        "ca_file",
        "client_cert",
        "client_key",
        "oauth_audience",
        "oauth_scope",
        "oauth_token_url",
        "proxy",
        "stream_path",
    ]
    assert links == ["sse_stream.links.DeadLettersLink", "sse_stream.links.StreamStatusLink"]
    assert "bearer" in login
    assert options
    assert listed


def test_the_import_is_quick_and_loads_no_airflow() -> None:
    code = (
        "import sys, time\n"
        "began = time.process_time()\n"
        "import sse_stream\n"
        "took = time.process_time() - began\n"
        "print(took, 'airflow' in sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    took, loaded = min(run.stdout.split() for run in runs)
    assert loaded == "False"
    assert float(took) < 0.1
