-- What people read of the counts, the same numbers from the facts to compare them with, and how to
-- count anew. The counts follow the facts by themselves (0010_rollups.sql); counting anew is for
-- when somebody switched the triggers off, or restored facts without them.

-- A minute in which nothing is left has no row.

create view analytics.sales_by_minute as
select
    s.minute,
    s.location_code,
    s.service_type,
    sum(s.orders)::bigint as orders,
    sum(s.priced_orders)::bigint as priced_orders,
    sum(s.revenue) as revenue,
    sum(s.tips) as tips,
    sum(s.items)::bigint as items,
    sum(s.item_revenue) as item_revenue,
    sum(s.feedback)::bigint as feedback,
    sum(s.ratings)::bigint as ratings,
    sum(s.rating_sum)::bigint as rating_sum,
    sum(s.nps_answers)::bigint as nps_answers,
    sum(s.nps_sum)::bigint as nps_sum
from analytics.sales_by_minute_parts s
group by 1, 2, 3
having sum(s.orders) <> 0 or sum(s.items) <> 0 or sum(s.feedback) <> 0;

create view analytics.sales_by_hour as
select
    date_bin('1 hour', s.minute, '2000-01-01 00:00:00+00') as hour,
    s.location_code,
    s.service_type,
    sum(s.orders)::bigint as orders,
    sum(s.priced_orders)::bigint as priced_orders,
    sum(s.revenue) as revenue,
    sum(s.tips) as tips,
    sum(s.items)::bigint as items,
    sum(s.item_revenue) as item_revenue,
    sum(s.feedback)::bigint as feedback,
    sum(s.ratings)::bigint as ratings,
    sum(s.rating_sum)::bigint as rating_sum,
    sum(s.nps_answers)::bigint as nps_answers,
    sum(s.nps_sum)::bigint as nps_sum
from analytics.sales_by_minute_parts s
group by 1, 2, 3
having sum(s.orders) <> 0 or sum(s.items) <> 0 or sum(s.feedback) <> 0;

create view analytics.sales_by_day as
select
    (s.minute at time zone 'UTC')::date as day,
    s.location_code,
    s.service_type,
    sum(s.orders)::bigint as orders,
    sum(s.priced_orders)::bigint as priced_orders,
    sum(s.revenue) as revenue,
    sum(s.tips) as tips,
    sum(s.items)::bigint as items,
    sum(s.item_revenue) as item_revenue,
    sum(s.feedback)::bigint as feedback,
    sum(s.ratings)::bigint as ratings,
    sum(s.rating_sum)::bigint as rating_sum,
    sum(s.nps_answers)::bigint as nps_answers,
    sum(s.nps_sum)::bigint as nps_sum
from analytics.sales_by_minute_parts s
group by 1, 2, 3
having sum(s.orders) <> 0 or sum(s.items) <> 0 or sum(s.feedback) <> 0;

create view analytics.payments_by_minute as
select
    s.minute, s.method,
    sum(s.payments)::bigint as payments,
    sum(s.amount) as amount
from analytics.payments_by_minute_parts s
group by 1, 2
having sum(s.payments) <> 0;

create view analytics.items_by_hour as
select
    i.hour, i.category, i.item_name,
    sum(i.lines)::bigint as lines,
    sum(i.quantity)::bigint as quantity,
    sum(i.revenue) as revenue
from analytics.items_by_hour_parts i
group by 1, 2, 3
having sum(i.lines) <> 0;

comment on view analytics.sales_by_minute is
    'per minute (UTC), location and service type; orders and items by the time of the order, feedback by its own; amounts in dollars';
comment on column analytics.sales_by_minute.priced_orders is 'orders whose payment has come';
comment on column analytics.sales_by_minute.revenue is
    'totals of the orders of this minute, whenever they were paid';
comment on column analytics.sales_by_minute.items is 'pieces, not lines';
comment on column analytics.sales_by_minute.location_code is
    'empty for feedback whose order is not known';
comment on column analytics.sales_by_minute.ratings is
    'answers with a rating; the mean is rating_sum / ratings';
comment on column analytics.sales_by_minute.nps_sum is
    'promoters minus detractors; the score is 100 * nps_sum / nps_answers';
comment on view analytics.sales_by_hour is 'sales_by_minute by the hour';
comment on view analytics.sales_by_day is 'sales_by_minute by the day of UTC; daily_sales has local days';
comment on view analytics.payments_by_minute is
    'per minute of the payment (UTC) and method; amounts in dollars';
comment on view analytics.items_by_hour is
    'per hour of the order (UTC) and menu item; amounts in dollars';

-- The same numbers from the facts, for whole hours.

create function analytics.count_sales(p_from timestamptz, p_until timestamptz)
    returns table (
        minute timestamptz, location_code text, service_type text, orders bigint,
        priced_orders bigint, revenue numeric, tips numeric, items bigint, item_revenue numeric,
        feedback bigint, ratings bigint, rating_sum bigint, nps_answers bigint, nps_sum bigint
    )
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
begin
    return query
    with ordered as (
        select
            date_trunc('minute', o.order_ts, 'UTC') as at, o.location_code as place,
            o.service_type as kind, count(*) as n, count(o.total) as priced, sum(o.total) as total,
            sum(o.tip) as tip
        from analytics.orders o
        where o.order_ts >= p_from and o.order_ts < p_until
        group by 1, 2, 3
    ), sold as (
        select
            date_trunc('minute', o.order_ts, 'UTC') as at, o.location_code as place,
            o.service_type as kind, sum(i.qty) as n, sum(i.extended_price) as total
        from analytics.orders o
        join analytics.order_items i on i.order_id = o.order_id
        where o.order_ts >= p_from and o.order_ts < p_until
        group by 1, 2, 3
    ), said as (
        select
            date_trunc('minute', f.created_ts, 'UTC') as at,
            coalesce(o.location_code, '') as place, coalesce(o.service_type, '') as kind,
            count(*) as n, count(f.rating) as ratings, sum(f.rating) as rating_sum,
            count(f.nps) as answers,
            count(*) filter (where f.nps >= 9) - count(*) filter (where f.nps <= 6) as nps_sum
        from analytics.feedback f
        left join analytics.orders o on o.order_id = f.order_id
        where f.created_ts >= p_from and f.created_ts < p_until
        group by 1, 2, 3
    )
    select
        at, place, kind, coalesce(r.n, 0), coalesce(r.priced, 0), coalesce(r.total, 0.00),
        coalesce(r.tip, 0.00), coalesce(i.n, 0), coalesce(i.total, 0.00), coalesce(s.n, 0),
        coalesce(s.ratings, 0), coalesce(s.rating_sum, 0), coalesce(s.answers, 0),
        coalesce(s.nps_sum, 0)
    from ordered r
    full join sold i using (at, place, kind)
    full join said s using (at, place, kind);
end
$$;

create function analytics.count_payments(p_from timestamptz, p_until timestamptz)
    returns table (
        minute timestamptz, method text, payments bigint, amount numeric
    )
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
begin
    return query
    select
        date_trunc('minute', p.processed_at, 'UTC'), p.method, count(*), sum(p.amount)
    from analytics.payments p
    where p.processed_at >= p_from and p.processed_at < p_until
    group by 1, 2;
end
$$;

create function analytics.count_items(p_from timestamptz, p_until timestamptz)
    returns table (
        hour timestamptz, category text, item_name text, lines bigint, quantity bigint,
        revenue numeric
    )
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
begin
    return query
    select
        date_trunc('hour', o.order_ts, 'UTC'), i.category, i.item_name, count(*), sum(i.qty),
        sum(i.extended_price)
    from analytics.orders o
    join analytics.order_items i on i.order_id = o.order_id
    where o.order_ts >= p_from and o.order_ts < p_until
    group by 1, 2, 3;
end
$$;

comment on function analytics.count_sales(timestamptz, timestamptz) is
    'what sales_by_minute must say of these hours, from the facts';
comment on function analytics.count_payments(timestamptz, timestamptz) is
    'what payments_by_minute must say of these hours, from the facts';
comment on function analytics.count_items(timestamptz, timestamptz) is
    'what items_by_hour must say of these hours, from the facts';

-- One snapshot, because it is stable. An hour that is begun is looked at whole.
create function analytics.check_rollups(
    p_from timestamptz default '-infinity', p_until timestamptz default 'infinity'
)
    returns table (object_name text, differing bigint)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
declare
    v_from constant timestamptz := date_bin('1 hour', p_from, '2000-01-01 00:00:00+00');
    v_until constant timestamptz := date_bin(
        '1 hour', p_until + interval '1 hour' - interval '1 microsecond', '2000-01-01 00:00:00+00');
begin
    return query
    select 'analytics.sales_by_minute', count(*)
    from (
        select * from analytics.sales_by_minute m where m.minute >= v_from and m.minute < v_until
    ) s
    full join analytics.count_sales(v_from, v_until) f
        on (f.minute, f.location_code, f.service_type) = (s.minute, s.location_code, s.service_type)
    where to_jsonb(f) is distinct from to_jsonb(s);

    return query
    select 'analytics.payments_by_minute', count(*)
    from (
        select * from analytics.payments_by_minute m where m.minute >= v_from and m.minute < v_until
    ) s
    full join analytics.count_payments(v_from, v_until) f
        on (f.minute, f.method) = (s.minute, s.method)
    where to_jsonb(f) is distinct from to_jsonb(s);

    return query
    select 'analytics.items_by_hour', count(*)
    from (
        select * from analytics.items_by_hour h where h.hour >= v_from and h.hour < v_until
    ) s
    full join analytics.count_items(v_from, v_until) f
        on (f.hour, f.category, f.item_name) = (s.hour, s.category, s.item_name)
    where to_jsonb(f) is distinct from to_jsonb(s);
end
$$;
comment on function analytics.check_rollups(timestamptz, timestamptz) is
    'how many rows of each rollup are not what the facts say; what retention removed counts, so give p_from where it has';

-- For the owner alone: nobody writes facts meanwhile. A month takes seconds, and writers wait
-- patiently for a minute; longer spans are better rebuilt in parts.
create function analytics.rebuild_rollups(
    p_from timestamptz default '-infinity', p_until timestamptz default 'infinity'
)
    returns table (object_name text, removed bigint, made bigint)
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
declare
    v_from constant timestamptz := date_bin('1 hour', p_from, '2000-01-01 00:00:00+00');
    v_until constant timestamptz := date_bin(
        '1 hour', p_until + interval '1 hour' - interval '1 microsecond', '2000-01-01 00:00:00+00');
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'rebuild_rollups: the transaction is %, so it may not see the newest facts',
            current_setting('transaction_isolation')
            using errcode = 'active_sql_transaction',
                hint = 'call it in a transaction that is read committed';
    end if;
    -- In the order in which the engine takes them, whose writers begin with their offset.
    lock table sse_stream.offsets in exclusive mode;
    lock table analytics.orders, analytics.order_items, analytics.payments, analytics.feedback
        in share mode;

    delete from analytics.sales_by_minute_parts s where s.minute >= v_from and s.minute < v_until;
    get diagnostics removed = row_count;
    insert into analytics.sales_by_minute_parts
        (minute, location_code, service_type, writer, orders, priced_orders, revenue, tips, items,
         item_revenue, feedback, ratings, rating_sum, nps_answers, nps_sum)
    select
        c.minute, c.location_code, c.service_type, '', c.orders, c.priced_orders, c.revenue, c.tips,
        c.items, c.item_revenue, c.feedback, c.ratings, c.rating_sum, c.nps_answers, c.nps_sum
    from analytics.count_sales(v_from, v_until) c;
    get diagnostics made = row_count;
    object_name := 'analytics.sales_by_minute_parts';
    return next;

    delete from analytics.payments_by_minute_parts s where s.minute >= v_from and s.minute < v_until;
    get diagnostics removed = row_count;
    insert into analytics.payments_by_minute_parts
        (minute, method, writer, payments, amount)
    select c.minute, c.method, '', c.payments, c.amount
    from analytics.count_payments(v_from, v_until) c;
    get diagnostics made = row_count;
    object_name := 'analytics.payments_by_minute_parts';
    return next;

    delete from analytics.items_by_hour_parts i where i.hour >= v_from and i.hour < v_until;
    get diagnostics removed = row_count;
    insert into analytics.items_by_hour_parts
        (hour, category, item_name, writer, lines, quantity, revenue)
    select c.hour, c.category, c.item_name, '', c.lines, c.quantity, c.revenue
    from analytics.count_items(v_from, v_until) c;
    get diagnostics made = row_count;
    object_name := 'analytics.items_by_hour_parts';
    return next;
end
$$;
comment on function analytics.rebuild_rollups(timestamptz, timestamptz) is
    'counts these hours anew from the facts, while nobody writes; returns rows removed and made';

-- Called by apply_retention. What still comes for a day that is gone is dropped with the next call.
create function analytics.drop_old_rollups(keep_days integer)
    returns table (object_name text, unit text, removed bigint)
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    v_first_kept constant timestamptz :=
        ((now() at time zone 'UTC')::date - keep_days)::timestamp at time zone 'UTC';
begin
    unit := 'rows';
    delete from analytics.sales_by_minute_parts s where s.minute < v_first_kept;
    get diagnostics removed = row_count;
    object_name := 'analytics.sales_by_minute_parts';
    return next;
    delete from analytics.payments_by_minute_parts s where s.minute < v_first_kept;
    get diagnostics removed = row_count;
    object_name := 'analytics.payments_by_minute_parts';
    return next;
    delete from analytics.items_by_hour_parts i where i.hour < v_first_kept;
    get diagnostics removed = row_count;
    object_name := 'analytics.items_by_hour_parts';
    return next;
end
$$;

-- A database that has facts already.
select analytics.rebuild_rollups();
