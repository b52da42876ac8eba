-- Questions that operators and the DAGs ask. All run with the caller's rights: an answer about
-- what the caller can see is worth more than one about its owner.

create function analytics.get_latest_offset(p_stream text default 'restaurant') returns bigint
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(max(o.high_water), 0)
    from sse_stream.streams o
    where o.stream = p_stream
        and o.epoch is not distinct from (
            select l.epoch
            from sse_stream.streams l
            where l.stream = p_stream
            order by l.updated_at desc
            limit 1
        )
$$;
comment on function analytics.get_latest_offset(text) is
    'highest offset committed in the current epoch of the stream, or 0';

create function analytics.calculate_order_metrics(p_order_id uuid)
    returns table (
        order_id uuid, item_count bigint, total_items bigint, calculated_subtotal numeric(10, 2)
    )
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select
        o.order_id,
        count(i.order_item_id),
        coalesce(sum(i.qty), 0),
        coalesce(sum(i.extended_price), 0.00)
    from analytics.orders o
    left join analytics.order_items i on i.order_id = o.order_id
    where o.order_id = p_order_id
    group by o.order_id
$$;
comment on function analytics.calculate_order_metrics(uuid) is
    'lines, pieces and sum of the lines of one order; no row for an unknown order';

-- FAILED is a rule that must hold at every moment. WARNING is something that time should have
-- mended: an order is old by created_at, when it landed, because while the engine catches up the
-- rest of an old order is still on its way.
create function analytics.validate_data_consistency(p_since timestamptz default '-infinity')
    returns table (check_name text, status text, failing bigint, details text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with late as (
        select o.order_id
        from analytics.orders o
        where o.created_at >= p_since and o.created_at < now() - interval '5 minutes'
    ), checks (position, check_name, broken, failing, rule) as (
        select 1, 'items_without_order', 'FAILED', count(*), 'order items whose order does not exist'
        from analytics.order_items i
        where i.created_at >= p_since
            and not exists (select from analytics.orders o where o.order_id = i.order_id)
        union all
        select 2, 'payment_total_mismatch', 'FAILED', count(*),
            'payments that differ from the total of their order by more than 0.01'
        from analytics.payments p
        join analytics.orders o on o.order_id = p.order_id
        where o.created_at >= p_since and abs(o.total - p.amount) > 0.01
        union all
        select 3, 'negative_order_amounts', 'FAILED', count(*),
            'orders with a negative total, subtotal or tax'
        from analytics.orders o
        where o.created_at >= p_since and least(o.total, o.subtotal, o.tax) < 0
        union all
        select 4, 'orders_without_items', 'WARNING', count(*),
            'orders that landed over 5 minutes ago and have no item'
        from late
        where not exists (select from analytics.order_items i where i.order_id = late.order_id)
        union all
        select 5, 'orders_without_payment', 'WARNING', count(*),
            'orders that landed over 5 minutes ago and have no payment'
        from late
        where not exists (select from analytics.payments p where p.order_id = late.order_id)
    )
    select
        c.check_name,
        case when c.failing = 0 then 'OK' else c.broken end,
        c.failing,
        format('%s: %s, expected 0', c.rule, c.failing)
    from checks c
    order by c.position
$$;
comment on function analytics.validate_data_consistency(timestamptz) is
    'the data quality rules; p_since limits them to what landed since then';

create function analytics.health_check(
    p_stream text default 'restaurant', p_silent_after interval default '60 seconds'
)
    returns table (component text, status text, details jsonb)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    v_today constant date := (now() at time zone 'UTC')::date;
    v_privileged boolean;
    v_name text;
    v_days date[];
    v_rows bigint;
    v_heard_at timestamptz;
    v_at timestamptz;
    v_last bigint;
    v_types bigint;
begin
    component := 'database';
    status := 'OK';
    details := jsonb_build_object(
        'time', now(), 'database', current_database(), 'user', session_user,
        'version', current_setting('server_version'));
    return next;

    -- Daily work belongs to a role that cannot change the schema.
    component := 'role';
    select r.rolsuper or r.rolname = 'restaurant_owner' into strict v_privileged
    from pg_roles r where r.rolname = session_user;
    status := case when v_privileged then 'WARNING' else 'OK' end;
    details := jsonb_build_object('role', session_user, 'privileged', v_privileged);
    return next;

    foreach v_name in array array['raw_data.events_raw', 'analytics.audit_log'] loop
        component := 'partitions of ' || v_name;
        select coalesce(array_agg(to_date(right(c.relname, 8), 'YYYYMMDD')), '{}')
        into v_days
        from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        where i.inhparent = v_name::regclass and c.relname ~ '_[0-9]{8}$';
        status := case
            when v_today <> all (v_days) then 'FAILED'
            when v_today + 1 <> all (v_days) then 'WARNING'
            else 'OK'
        end;
        details := jsonb_build_object(
            'days', cardinality(v_days),
            'first', (select min(d) from unnest(v_days) d),
            'last', (select max(d) from unnest(v_days) d));
        return next;
    end loop;

    component := 'default partition';
    select count(*) into v_rows from (select from raw_data.events_raw_default limit 1000) d;
    status := case when v_rows = 0 then 'OK' else 'WARNING' end;
    details := jsonb_build_object('rows_at_least', v_rows);
    return next;

    component := 'stream';
    select max(o.last_heard_at), max(o.updated_at) into v_heard_at, v_at
    from sse_stream.streams o where o.stream = p_stream;
    status := case
        when v_heard_at is null or v_heard_at < now() - p_silent_after then 'WARNING'
        else 'OK'
    end;
    details := jsonb_build_object(
        'last_heard_at', v_heard_at, 'updated_at', v_at,
        'latest_offset', analytics.get_latest_offset(p_stream));
    return next;

    component := 'ingestion';
    select count(*), max(e.ingested_at), count(distinct e.event_type)
    into v_last, v_at, v_types
    from raw_data.events_raw e
    where e.ingested_at > now() - interval '5 minutes';
    status := case when v_last > 0 then 'OK' else 'WARNING' end;
    details := jsonb_build_object(
        'events_last_5_minutes', v_last, 'last_ingested_at', v_at, 'event_types', v_types);
    return next;

    component := 'dead letters';
    select count(*) into v_rows
    from sse_stream.dead_letters d
    where d.stream = p_stream and d.created_at > now() - interval '1 hour';
    status := case when v_rows = 0 then 'OK' else 'WARNING' end;
    details := jsonb_build_object('last_hour', v_rows);
    return next;

    component := 'migrations';
    select coalesce(jsonb_object_agg(m.owner, m.version), '{}')
    into details
    from (select owner, max(version) as version from sse_stream.migrations group by owner) m;
    status := case when details = '{}' then 'FAILED' else 'OK' end;
    return next;
end
$$;
comment on function analytics.health_check(text, interval) is
    'one row per component, status OK, WARNING or FAILED; silent after p_silent_after';
