"""What comes back: raw events after the data-only reset, everything after a lost database."""

from __future__ import annotations

import subprocess

from containers import PROJECT, Containers


def test_the_data_only_reset_restores_raw_and_leaves_the_facts(stack: Containers) -> None:
    stack.must("smoke")
    stack.sql("create table kept as select order_id from analytics.orders where total is not null")
    facts = (
        "select md5(string_agg(o::text, '' order by order_id)) from analytics.orders o"
        " where order_id in (select order_id from kept)"
    )
    changes = (
        "select count(*) from analytics.audit_log where table_name = 'analytics.orders'"
        " and record_id in (select order_id::text from kept)"
    )
    before = stack.sql(facts), stack.sql(changes)
    print(stack.must("reset", DATA="1", YES="1").stdout)
    assert (stack.sql(facts), stack.sql(changes)) == before
    stack.sql("drop table kept")
    stack.must("smoke")


def test_a_backup_on_an_empty_stack_goes_on_exactly_once(stack: Containers) -> None:
    stack.await_growth()
    print(stack.must("backup").stdout)
    stack.await_growth()
    lost = stack.offset()
    # The generator's own log stays: it stands for a system that is not ours.
    stack.must("down")
    volume = f"{PROJECT}_postgres-data"
    subprocess.run(["docker", "volume", "rm", volume], check=True, capture_output=True)
    print(stack.must("restore", YES="1").stdout)
    stack.await_true(lambda: stack.offset() > lost, f"offset not beyond {lost}", 300)
    print(stack.must("smoke").stdout)
    assert int(stack.sql("select count(*) from sse_stream.gaps")) == 0
    assert int(stack.sql("select count(*) from sse_stream.epochs")) == 1


def test_restore_asks_before_it_replaces(stack: Containers) -> None:
    done = stack.verb("restore")
    assert done.returncode == 1
    assert "not confirmed" in done.stdout
    stack.await_well()
