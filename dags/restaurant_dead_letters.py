"""By hand: try dead letters again, after what they died of was mended.

Trigger it with reason codes or event types to choose from, or with none for all. The stream may go
on meanwhile: a letter lands once, whoever meets it.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.decorators import dag
from airflow.models.param import Param

from sse_stream import DeadLetterReplayOperator


@dag(
    schedule=None,
    start_date=datetime(2025, 10, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    # So that a list stays a list on its way through the templates.
    render_template_as_native_obj=True,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "reasons": Param(None, type=["null", "array"], items={"type": "string"}),
        "event_types": Param(None, type=["null", "array"], items={"type": "string"}),
        "limit": Param(10_000, type=["null", "integer"], minimum=1),
        "fail_if_left": Param(False, type="boolean"),
    },
    tags=["restaurant", "dead letters"],
    doc_md=__doc__,
)
def restaurant_dead_letters() -> None:
    """Wire the task."""
    DeadLetterReplayOperator(
        task_id="replay",
        reasons="{{ params.reasons }}",
        event_types="{{ params.event_types }}",
        limit="{{ params.limit }}",
        fail_if_left="{{ params.fail_if_left }}",
    )


restaurant_dead_letters()
