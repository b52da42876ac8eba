"""What comes back: raw events after the data-only reset, everything after a lost database."""

from __future__ import annotations

from containers import PROJECT, Containers


def test_the_data_only_reset_restores_raw_and_leaves_the_facts(stack: Containers) -> None:
    stack.must("smoke")
    audit = "select coalesce(max(audit_id), 0) from analytics.audit_log"
    facts = (
        "select md5(string_agg(o::text, '' order by order_id)) from analytics.orders o"
        " where order_id in (select order_id from kept)"
    )
    stack.sql("create table kept as select order_id from analytics.orders where total is not null")
    before, audited = stack.sql(facts), int(stack.sql(audit))
    print(stack.must("reset", DATA="1", YES="1").stdout)
    assert stack.sql(facts) == before
    changed = (
        "select count(*) from analytics.audit_log where audit_id <= {} and operation <> 'INSERT'"
    )
    assert int(stack.sql(audit)) >= audited
    print("earlier changes:", stack.sql(changed.format(audited)))
    stack.sql("drop table kept")
    stack.must("smoke")


def test_a_backup_on_an_empty_stack_goes_on_exactly_once(stack: Containers) -> None:
    stack.await_growth()
    print(stack.must("backup").stdout)
    stack.await_growth()
    lost = stack.offset()
    # The generator's own log stays: it stands for a system that is not ours.
    stack.must("down")
    stack.compose("run", "--rm", "--no-deps", "-T", "--entrypoint", "true", "restaurant-api")
    _docker("volume", "rm", f"{PROJECT}_postgres-data")
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


def _docker(*arguments: str) -> None:
    import subprocess

    subprocess.run(["docker", *arguments], check=True, capture_output=True)
