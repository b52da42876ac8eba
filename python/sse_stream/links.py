"""Links beside a task: to your pages about its stream and its dead letters.

Where they lead is an option of Airflow's section ``sse_stream``; without it a link is inactive.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ._airflow import AIRFLOW_3, BaseOperatorLink, link_option, pushed_link

__all__ = ["DeadLettersLink", "StreamStatusLink", "make_links"]


class _StreamLink(BaseOperatorLink):
    name = ""
    option = ""

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address that the task made when it began; empty where there is none."""
        if AIRFLOW_3:
            # Asked in the worker, with the operator that ran.
            return str(getattr(operator, "stream_links", {}).get(self.option, ""))
        return pushed_link(ti_key, _key(self.option))


class StreamStatusLink(_StreamLink):
    """Opens ``status_url``."""

    name = "Stream status"
    option = "status_url"


class DeadLettersLink(_StreamLink):
    """Opens ``dead_letters_url``."""

    name = "Dead letters"
    option = "dead_letters_url"


def make_links(context: Any, *, stream: str, shard: int) -> dict[str, str]:
    """Return the addresses of a task's links, before its work begins.

    In Airflow 2.11 they are pushed to XCom, because its web server cannot ask the operator.
    """
    links = {}
    for option in (StreamStatusLink.option, DeadLettersLink.option):
        if template := link_option(option):
            links[option] = template.replace("{stream}", quote(stream, safe="")).replace(
                "{shard}", str(shard)
            )
    ti = context.get("ti") if context else None
    if ti is not None and not AIRFLOW_3:
        for option, address in links.items():
            ti.xcom_push(key=_key(option), value=address)
    return links


def _key(option: str) -> str:
    return f"sse_stream_{option}"
