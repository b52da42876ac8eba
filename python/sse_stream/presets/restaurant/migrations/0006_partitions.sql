-- Days come and go through functions of the owner, so that the role of the engine can have them
-- made and dropped without any right to create or drop a table.
--
-- Only SHARE UPDATE EXCLUSIVE is taken on the table itself when a day is added, so that ingestion
-- goes on. Dropping needs ACCESS EXCLUSIVE for a moment. Both give up after lock_timeout rather
-- than stand in the queue with all writers behind them: the caller tries again.

-- Adds the partition of one UTC day; false when it is there already. Rows of that day that waited
-- in the default partition move into it.
create function raw_data.add_day_partition(p_table regclass, p_day date) returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '5s'
as $$
declare
    v_schema text;
    v_name text;
    v_column text;
    v_partition text;
    v_default regclass;
    v_from text := to_char(p_day, 'YYYY-MM-DD') || ' 00:00:00+00';
    v_to text := to_char(p_day + 1, 'YYYY-MM-DD') || ' 00:00:00+00';
begin
    select n.nspname, c.relname, a.attname, p.partdefid
    into strict v_schema, v_name, v_column, v_default
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_partitioned_table p on p.partrelid = c.oid
    join pg_attribute a on a.attrelid = c.oid and a.attnum = p.partattrs[0]
    where c.oid = p_table;
    v_partition := v_name || '_' || to_char(p_day, 'YYYYMMDD');

    if to_regclass(format('%I.%I', v_schema, v_partition)) is not null then
        return false;
    end if;
    -- The order of these locks is the same in every caller; the second look is after the wait.
    execute format('lock table only %s in share update exclusive mode', p_table);
    if to_regclass(format('%I.%I', v_schema, v_partition)) is not null then
        return false;
    end if;
    execute format('lock table %s in access exclusive mode', v_default);

    execute format(
        'create table %I.%I (like %s including defaults including constraints'
        ' including storage including compression)',
        v_schema, v_partition, p_table);
    execute format(
        'with moved as (delete from %1$s where %2$I >= %3$L and %2$I < %4$L returning *)'
        ' insert into %5$I.%6$I select * from moved',
        v_default, v_column, v_from, v_to, v_schema, v_partition);
    execute format(
        'alter table %s attach partition %I.%I for values from (%L) to (%L)',
        p_table, v_schema, v_partition, v_from, v_to);
    return true;
end
$$;

-- Drops the partitions of days before p_first_kept and deletes older rows of the default partition.
create function raw_data.drop_days_before(p_table regclass, p_first_kept date)
    returns table (object_name text, unit text, removed bigint)
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '5s'
as $$
declare
    v_partition regclass;
    v_default regclass;
    v_column text;
    v_limit text := to_char(p_first_kept, 'YYYY-MM-DD') || ' 00:00:00+00';
begin
    select a.attname, p.partdefid
    into strict v_column, v_default
    from pg_partitioned_table p
    join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
    where p.partrelid = p_table;

    removed := 0;
    for v_partition in
        select i.inhrelid
        from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        where i.inhparent = p_table
            and i.inhrelid <> v_default
            and c.relname ~ '_[0-9]{8}$'
            and to_date(right(c.relname, 8), 'YYYYMMDD') < p_first_kept
        order by c.relname
    loop
        execute format('drop table %s', v_partition);
        removed := removed + 1;
    end loop;
    object_name := p_table::text;
    unit := 'partitions';
    return next;

    execute format('delete from %s where %I < %L', v_default, v_column, v_limit);
    get diagnostics removed = row_count;
    object_name := v_default::text;
    unit := 'rows';
    return next;
end
$$;

create function raw_data.ensure_partitions(days_back integer default 1, days_ahead integer default 7)
    returns integer
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    v_today constant date := (now() at time zone 'UTC')::date;
    v_table regclass;
    v_day date;
    v_made integer := 0;
begin
    if days_back is null or days_back not between 0 and 366
        or days_ahead is null or days_ahead not between 0 and 366 then
        raise exception 'ensure_partitions(%, %): both numbers of days must be 0 to 366',
            days_back, days_ahead using errcode = 'invalid_parameter_value';
    end if;
    -- The audit is written at the present alone, so that it needs no days back.
    foreach v_table in array array['raw_data.events_raw', 'analytics.audit_log']::regclass[] loop
        v_day := v_today;
        if v_table = 'raw_data.events_raw'::regclass then
            v_day := v_today - days_back;
        end if;
        while v_day <= v_today + days_ahead loop
            if raw_data.add_day_partition(v_table, v_day) then
                v_made := v_made + 1;
            end if;
            v_day := v_day + 1;
        end loop;
    end loop;
    return v_made;
end
$$;
comment on function raw_data.ensure_partitions(integer, integer) is
    'makes the day partitions of events_raw and audit_log around today (UTC); returns how many';

create function raw_data.drop_old_partitions(keep_days integer default 7)
    returns table (object_name text, unit text, removed bigint)
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if keep_days is null or keep_days not between 1 and 36500 then
        raise exception 'drop_old_partitions(%): days to keep must be 1 to 36500', keep_days
            using errcode = 'invalid_parameter_value';
    end if;
    return query
    select d.object_name, d.unit, d.removed
    from raw_data.drop_days_before(
        'raw_data.events_raw', (now() at time zone 'UTC')::date - keep_days) d;
end
$$;
comment on function raw_data.drop_old_partitions(integer) is
    'drops raw events older than today and so many days before it (UTC, by ts)';

select raw_data.ensure_partitions(days_back => 1, days_ahead => 7);
