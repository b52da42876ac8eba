"""Services that restart or die while events come: nothing is lost, nothing comes twice."""

from __future__ import annotations

import pytest
from containers import LONG_RUNNING, Containers


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_a_restart_under_load_is_survived(stack: Containers, service: str) -> None:
    stack.await_growth()
    stack.compose("restart", service)
    stack.await_well()
    stack.await_growth()


def test_a_killed_database_comes_back_by_itself(stack: Containers) -> None:
    stack.await_growth()
    before = stack.rows()
    stack.kill("postgres")
    stack.await_well()
    stack.await_growth()
    after = stack.rows()
    assert all(after[name] >= count for name, count in before.items())


def test_a_killed_scheduler_comes_back_by_itself(stack: Containers) -> None:
    stack.kill("scheduler")
    stack.await_well()
    stack.await_growth()


def test_every_row_is_still_what_the_events_say(stack: Containers) -> None:
    print(stack.must("smoke").stdout)
    stack.must("verify")
