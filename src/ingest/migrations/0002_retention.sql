-- What is kept of the books for how long. Offsets, epochs, gaps, open dead letters and what waits
-- are kept for ever: they are promises not yet kept. The history of runs and the dead letters that
-- were settled only tell how it came about.
--
-- A function of the owner, because the engine's login may delete neither: it must not be able to
-- wipe its own traces at once. Who may call it is the feed's decision.

create function sse_stream.prune(runs_days integer default 30, settled_days integer default 90)
    returns table (object_name text, unit text, removed bigint)
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if runs_days is null or runs_days not between 1 and 36500 then
        raise exception 'prune: runs_days is %, it must be 1 to 36500', runs_days
            using errcode = 'invalid_parameter_value';
    end if;
    if settled_days is null or settled_days not between 1 and 36500 then
        raise exception 'prune: settled_days is %, it must be 1 to 36500', settled_days
            using errcode = 'invalid_parameter_value';
    end if;

    -- In hours: a day of the caller's time zone may have 23 or 25.
    delete from sse_stream.runs r
    where coalesce(r.ended_at, r.started_at) < now() - make_interval(hours => 24 * runs_days);
    get diagnostics removed = row_count;
    object_name := 'sse_stream.runs';
    unit := 'rows';
    return next;

    delete from sse_stream.dead_letters d
    where d.state <> 'open'
      and d.settled_at < now() - make_interval(hours => 24 * settled_days);
    get diagnostics removed = row_count;
    object_name := 'sse_stream.dead_letters';
    unit := 'settled rows';
    return next;
end
$$;
comment on function sse_stream.prune(integer, integer) is
    'removes run history and settled dead letters older than so many days; returns what was removed';
revoke all on function sse_stream.prune(integer, integer) from public;
