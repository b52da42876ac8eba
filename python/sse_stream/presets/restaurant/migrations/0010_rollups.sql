-- Sales by the minute, counted while the facts change: a reader of the last hour adds up some
-- hundred rows and no fact.
--
-- Triggers run once per statement over its transition tables, in the transaction that changes the
-- facts. So whatever brings, completes, changes or deletes a fact is counted with it exactly once,
-- by the time of the event: a replay changes no fact and adds nothing, a late event corrects its
-- minute. The functions run with their owner's rights, so that nobody who writes facts can write
-- the counts. An update takes the old rows off and adds the new ones.
--
-- Each writer has its own part of every count, so that writers never wait for each other; the views
-- add the parts up. A part alone says nothing and may be negative: an order that one session counted
-- may be deleted by another. The engine says who writes in the setting sse_stream.writer; what
-- people change by hand is the part of ''. All texts compare byte by byte, which costs least.
--
-- What changes in a row changes often, its key never: the space left on each page lets the new
-- version stand beside the old one without touching the index.

create table analytics.sales_by_minute_parts (
    minute timestamptz not null,
    location_code text collate "C" not null,
    service_type text collate "C" not null,
    writer text collate "C" not null,
    orders bigint not null default 0,
    priced_orders bigint not null default 0,
    revenue numeric not null default 0.00,
    tips numeric not null default 0.00,
    items bigint not null default 0,
    item_revenue numeric not null default 0.00,
    feedback bigint not null default 0,
    ratings bigint not null default 0,
    rating_sum bigint not null default 0,
    nps_answers bigint not null default 0,
    nps_sum bigint not null default 0,
    constraint sales_by_minute_parts_pkey primary key (minute, location_code, service_type, writer)
) with (fillfactor = 50);

create table analytics.payments_by_minute_parts (
    minute timestamptz not null,
    method text collate "C" not null,
    writer text collate "C" not null,
    payments bigint not null default 0,
    amount numeric not null default 0.00,
    constraint payments_by_minute_parts_pkey primary key (minute, method, writer)
) with (fillfactor = 50);

create table analytics.items_by_hour_parts (
    hour timestamptz not null,
    category text collate "C" not null,
    item_name text collate "C" not null,
    writer text collate "C" not null,
    lines bigint not null default 0,
    quantity bigint not null default 0,
    revenue numeric not null default 0.00,
    constraint items_by_hour_parts_pkey primary key (hour, category, item_name, writer)
) with (fillfactor = 50);

comment on table analytics.sales_by_minute_parts is
    'what each writer counted; read the view sales_by_minute';
comment on table analytics.payments_by_minute_parts is
    'what each writer counted; read the view payments_by_minute';
comment on table analytics.items_by_hour_parts is
    'what each writer counted; read the view items_by_hour';

-- A batch has thousands of rows and some dozens of groups. enable_sort makes the planner gather the
-- groups by hashing, whatever it was told of the number of rows when the session began, and only they
-- are put into the order of their keys (an inner query with "offset 0" is planned by itself). The
-- order keeps sessions of the same name from a deadlock.

-- The orders of one statement. The argument is 1 for rows that came, -1 for rows that went; for an
-- update both are called.
create function analytics.roll_up_orders() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set enable_sort = off
    set jit = off
as $$
declare
    v_writer constant text := coalesce(current_setting('sse_stream.writer', true), '');
    v_sign constant integer := tg_argv[0];
begin
    insert into analytics.sales_by_minute_parts as s
        (minute, location_code, service_type, writer, orders, priced_orders, revenue, tips)
    select * from (
        select
            date_bin('1 minute', c.order_ts, '2000-01-01 00:00:00+00'),
            c.location_code collate "C",
            c.service_type collate "C",
            v_writer,
            v_sign * count(*),
            v_sign * count(c.total),
            v_sign * coalesce(sum(c.total), 0.00),
            v_sign * coalesce(sum(c.tip), 0.00)
        from changed c
        group by 1, 2, 3
        offset 0
    ) n
    order by 1, 2, 3
    on conflict on constraint sales_by_minute_parts_pkey do update set
        orders = s.orders + excluded.orders,
        priced_orders = s.priced_orders + excluded.priced_orders,
        revenue = s.revenue + excluded.revenue,
        tips = s.tips + excluded.tips;
    return null;
end
$$;

-- Items count in the minute of their order. Those of an order that is gone were taken off before it
-- went, see roll_up_move.
--
-- Here and for feedback each row finds its order by the key, one look-up after the other: a lateral
-- query with a limit leaves the planner no other way than through the index, and enable_seqscan
-- keeps it from reading the table whole because that was small when the session began.
create function analytics.roll_up_order_items() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set enable_seqscan = off
    set enable_sort = off
    set jit = off
as $$
declare
    v_writer constant text := coalesce(current_setting('sse_stream.writer', true), '');
    v_sign constant integer := tg_argv[0];
begin
    with counted as materialized (
        -- Both counts in one pass.
        select
            grouping(l.minute) = 1 as is_by_hour, l.minute, l.location_code, l.service_type,
            l.hour, l.category, l.item_name,
            v_sign * count(*) as lines,
            v_sign * sum(l.qty) as quantity,
            v_sign * sum(l.extended_price) as revenue
        from (
            select
                date_bin('1 minute', o.order_ts, '2000-01-01 00:00:00+00') as minute,
                date_bin('1 hour', o.order_ts, '2000-01-01 00:00:00+00') as hour,
                o.location_code collate "C" as location_code,
                o.service_type collate "C" as service_type,
                c.category collate "C" as category,
                c.item_name collate "C" as item_name,
                c.qty,
                c.extended_price
            from changed c
            cross join lateral (
                select r.order_ts, r.location_code, r.service_type
                from analytics.orders r where r.order_id = c.order_id limit 1
            ) o
        ) l
        group by grouping sets (
            (l.minute, l.location_code, l.service_type), (l.hour, l.category, l.item_name)
        )
    ), by_hour as (
        insert into analytics.items_by_hour_parts as i
            (hour, category, item_name, writer, lines, quantity, revenue)
        select n.hour, n.category, n.item_name, v_writer, n.lines, n.quantity, n.revenue
        from counted n
        where n.is_by_hour
        order by 1, 2, 3
        on conflict on constraint items_by_hour_parts_pkey do update set
            lines = i.lines + excluded.lines,
            quantity = i.quantity + excluded.quantity,
            revenue = i.revenue + excluded.revenue
    )
    insert into analytics.sales_by_minute_parts as s
        (minute, location_code, service_type, writer, items, item_revenue)
    select n.minute, n.location_code, n.service_type, v_writer, n.quantity, n.revenue
    from counted n
    where not n.is_by_hour
    order by 1, 2, 3
    on conflict on constraint sales_by_minute_parts_pkey do update set
        items = s.items + excluded.items,
        item_revenue = s.item_revenue + excluded.item_revenue;
    return null;
end
$$;

-- Payments count in their own minute.
create function analytics.roll_up_payments() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set enable_sort = off
    set jit = off
as $$
declare
    v_writer constant text := coalesce(current_setting('sse_stream.writer', true), '');
    v_sign constant integer := tg_argv[0];
begin
    insert into analytics.payments_by_minute_parts as s
        (minute, method, writer, payments, amount)
    select * from (
        select
            date_bin('1 minute', c.processed_at, '2000-01-01 00:00:00+00'),
            c.method collate "C",
            v_writer,
            v_sign * count(*),
            v_sign * sum(c.amount)
        from changed c
        group by 1, 2
        offset 0
    ) n
    order by 1, 2
    on conflict on constraint payments_by_minute_parts_pkey do update set
        payments = s.payments + excluded.payments,
        amount = s.amount + excluded.amount;
    return null;
end
$$;

-- Feedback counts in its own minute, at the site of its order; without an order at no site.
create function analytics.roll_up_feedback() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set enable_seqscan = off
    set enable_sort = off
    set jit = off
as $$
declare
    v_writer constant text := coalesce(current_setting('sse_stream.writer', true), '');
    v_sign constant integer := tg_argv[0];
begin
    insert into analytics.sales_by_minute_parts as s
        (minute, location_code, service_type, writer,
         feedback, ratings, rating_sum, nps_answers, nps_sum)
    select * from (
        select
            date_bin('1 minute', c.created_ts, '2000-01-01 00:00:00+00'),
            coalesce(o.location_code, '') collate "C",
            coalesce(o.service_type, '') collate "C",
            v_writer,
            v_sign * count(*),
            v_sign * count(c.rating),
            v_sign * coalesce(sum(c.rating), 0),
            v_sign * count(c.nps),
            v_sign * (count(*) filter (where c.nps >= 9) - count(*) filter (where c.nps <= 6))
        from changed c
        left join lateral (
            select r.location_code, r.service_type
            from analytics.orders r where r.order_id = c.order_id limit 1
        ) o on true
        group by 1, 2, 3
        offset 0
    ) n
    order by 1, 2, 3
    on conflict on constraint sales_by_minute_parts_pkey do update set
        feedback = s.feedback + excluded.feedback,
        ratings = s.ratings + excluded.ratings,
        rating_sum = s.rating_sum + excluded.rating_sum,
        nps_answers = s.nps_answers + excluded.nps_answers,
        nps_sum = s.nps_sum + excluded.nps_sum;
    return null;
end
$$;

-- An order that moves to another minute, site or kind of service takes along what was counted with
-- it. One that is deleted takes its items off, and leaves its feedback at no site: what the deletion
-- then does to them finds no order, and so counts the same.
create function analytics.roll_up_move() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set enable_seqscan = off
    set jit = off
as $$
declare
    v_writer constant text := coalesce(current_setting('sse_stream.writer', true), '');
    v_order constant uuid := old.order_id;
begin
    with places (sign, order_ts, location_code, service_type) as (
        values
            (-1, old.order_ts, old.location_code, old.service_type),
            (1, new.order_ts, new.location_code, new.service_type)
    ), lines as (
        select p.*, i.category, i.item_name, i.qty, i.extended_price
        from places p
        join analytics.order_items i on i.order_id = v_order
        where p.order_ts is not null
    ), by_hour as (
        insert into analytics.items_by_hour_parts as i
            (hour, category, item_name, writer, lines, quantity, revenue)
        select
            date_bin('1 hour', l.order_ts, '2000-01-01 00:00:00+00'), l.category, l.item_name,
            v_writer, sum(l.sign), sum(l.sign * l.qty), sum(l.sign * l.extended_price)
        from lines l
        group by 1, 2, 3
        order by 1, 2, 3
        on conflict on constraint items_by_hour_parts_pkey do update set
            lines = i.lines + excluded.lines,
            quantity = i.quantity + excluded.quantity,
            revenue = i.revenue + excluded.revenue
    )
    insert into analytics.sales_by_minute_parts as s
        (minute, location_code, service_type, writer, items, item_revenue,
         feedback, ratings, rating_sum, nps_answers, nps_sum)
    select
        date_bin('1 minute', c.at, '2000-01-01 00:00:00+00'), c.location_code, c.service_type,
        v_writer, sum(c.items), sum(c.item_revenue), sum(c.feedback), sum(c.ratings),
        sum(c.rating_sum), sum(c.nps_answers), sum(c.nps_sum)
    from (
        select
            l.order_ts, l.location_code, l.service_type, l.sign * l.qty, l.sign * l.extended_price,
            0, 0, 0, 0, 0
        from lines l
        union all
        select
            f.created_ts, coalesce(p.location_code, ''), coalesce(p.service_type, ''), 0, 0.00,
            p.sign,
            case when f.rating is not null then p.sign else 0 end,
            p.sign * coalesce(f.rating, 0),
            case when f.nps is not null then p.sign else 0 end,
            case when f.nps >= 9 then p.sign when f.nps <= 6 then -p.sign else 0 end
        from places p
        join analytics.feedback f on f.order_id = v_order
    ) c (at, location_code, service_type, items, item_revenue,
         feedback, ratings, rating_sum, nps_answers, nps_sum)
    group by 1, 2, 3
    order by 1, 2, 3
    on conflict on constraint sales_by_minute_parts_pkey do update set
        items = s.items + excluded.items,
        item_revenue = s.item_revenue + excluded.item_revenue,
        feedback = s.feedback + excluded.feedback,
        ratings = s.ratings + excluded.ratings,
        rating_sum = s.rating_sum + excluded.rating_sum,
        nps_answers = s.nps_answers + excluded.nps_answers,
        nps_sum = s.nps_sum + excluded.nps_sum;
    if tg_op = 'DELETE' then
        return old;
    end if;
    return new;
end
$$;

-- Before orders move or go: no session may be in the middle of adding to them, since what it adds
-- cannot be seen yet, nor may this one look at an old snapshot. (One statement that changes orders and
-- what belongs to them by parts of a WITH sees neither change; check_rollups finds what comes of it.)
-- Every writer of the engine locks its row of sse_stream.offsets first, so that
-- waiting for those rows meets nobody half-way.
create function analytics.roll_up_alone() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'orders cannot move or go: the transaction is %, so it may not see all that belongs to them',
            current_setting('transaction_isolation')
            using errcode = 'active_sql_transaction',
                hint = 'do it in a transaction that is read committed';
    end if;
    lock table sse_stream.offsets in exclusive mode;
    lock table analytics.order_items, analytics.feedback in share row exclusive mode;
    return null;
end
$$;

-- An emptied table is rare enough to count everything anew.
create function analytics.roll_up_anew() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform analytics.rebuild_rollups();
    return null;
end
$$;

create trigger orders_roll_up_insert after insert on analytics.orders
    referencing new table as changed
    for each statement execute function analytics.roll_up_orders('1');
create trigger orders_roll_up_update_new after update on analytics.orders
    referencing new table as changed
    for each statement execute function analytics.roll_up_orders('1');
create trigger orders_roll_up_update_old after update on analytics.orders
    referencing old table as changed
    for each statement execute function analytics.roll_up_orders('-1');
create trigger orders_roll_up_delete after delete on analytics.orders
    referencing old table as changed
    for each statement execute function analytics.roll_up_orders('-1');
create trigger orders_roll_up_alone
    before delete or update of order_ts, location_code, service_type on analytics.orders
    for each statement execute function analytics.roll_up_alone();
create trigger orders_roll_up_leave before delete on analytics.orders
    for each row execute function analytics.roll_up_move();
create trigger orders_roll_up_move
    after update of order_ts, location_code, service_type on analytics.orders
    for each row
    when ((old.order_ts, old.location_code, old.service_type)
        is distinct from (new.order_ts, new.location_code, new.service_type))
    execute function analytics.roll_up_move();
create trigger orders_roll_up_truncate after truncate on analytics.orders
    for each statement execute function analytics.roll_up_anew();

create trigger order_items_roll_up_insert after insert on analytics.order_items
    referencing new table as changed
    for each statement execute function analytics.roll_up_order_items('1');
create trigger order_items_roll_up_update_new after update on analytics.order_items
    referencing new table as changed
    for each statement execute function analytics.roll_up_order_items('1');
create trigger order_items_roll_up_update_old after update on analytics.order_items
    referencing old table as changed
    for each statement execute function analytics.roll_up_order_items('-1');
create trigger order_items_roll_up_delete after delete on analytics.order_items
    referencing old table as changed
    for each statement execute function analytics.roll_up_order_items('-1');
create trigger order_items_roll_up_truncate after truncate on analytics.order_items
    for each statement execute function analytics.roll_up_anew();

create trigger payments_roll_up_insert after insert on analytics.payments
    referencing new table as changed
    for each statement execute function analytics.roll_up_payments('1');
create trigger payments_roll_up_update_new after update on analytics.payments
    referencing new table as changed
    for each statement execute function analytics.roll_up_payments('1');
create trigger payments_roll_up_update_old after update on analytics.payments
    referencing old table as changed
    for each statement execute function analytics.roll_up_payments('-1');
create trigger payments_roll_up_delete after delete on analytics.payments
    referencing old table as changed
    for each statement execute function analytics.roll_up_payments('-1');
create trigger payments_roll_up_truncate after truncate on analytics.payments
    for each statement execute function analytics.roll_up_anew();

create trigger feedback_roll_up_insert after insert on analytics.feedback
    referencing new table as changed
    for each statement execute function analytics.roll_up_feedback('1');
create trigger feedback_roll_up_update_new after update on analytics.feedback
    referencing new table as changed
    for each statement execute function analytics.roll_up_feedback('1');
create trigger feedback_roll_up_update_old after update on analytics.feedback
    referencing old table as changed
    for each statement execute function analytics.roll_up_feedback('-1');
create trigger feedback_roll_up_delete after delete on analytics.feedback
    referencing old table as changed
    for each statement execute function analytics.roll_up_feedback('-1');
create trigger feedback_roll_up_truncate after truncate on analytics.feedback
    for each statement execute function analytics.roll_up_anew();
