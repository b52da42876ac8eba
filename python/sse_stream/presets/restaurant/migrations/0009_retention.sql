-- What is kept for how long. Facts are kept for ever, and so are open dead letters: they are events
-- that have not landed yet. The engine's own books are pruned by the engine's own function. Minutes
-- and hours that were counted are kept longer than a year, so that a day can be compared with that
-- of the year before; the facts behind them stay.
--
-- The role of the engine may call it, since the daily DAG runs as that role. It must not be able to
-- wipe its own traces at once, therefore the audit is kept for a week at least.

create function analytics.apply_retention(
    raw_days integer default 7, audit_days integer default 30, runs_days integer default 30,
    settled_days integer default 90, rollup_days integer default 400
)
    returns table (object_name text, unit text, removed bigint)
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if audit_days is null or audit_days not between 7 and 36500 then
        raise exception 'apply_retention: audit_days is %, it must be 7 to 36500', audit_days
            using errcode = 'invalid_parameter_value';
    end if;
    if rollup_days is null or rollup_days not between 7 and 36500 then
        raise exception 'apply_retention: rollup_days is %, it must be 7 to 36500', rollup_days
            using errcode = 'invalid_parameter_value';
    end if;

    return query
    select d.object_name, d.unit, d.removed from raw_data.drop_old_partitions(raw_days) d;

    return query
    select d.object_name, d.unit, d.removed
    from raw_data.drop_days_before(
        'analytics.audit_log', (now() at time zone 'UTC')::date - audit_days) d;

    return query
    select d.object_name, d.unit, d.removed from sse_stream.prune(runs_days, settled_days) d;

    return query
    select d.object_name, d.unit, d.removed from analytics.drop_old_rollups(rollup_days) d;
end
$$;
comment on function analytics.apply_retention(integer, integer, integer, integer, integer) is
    'drops raw events, audit, run history, settled dead letters and rollups older than so many days; returns what was removed';
