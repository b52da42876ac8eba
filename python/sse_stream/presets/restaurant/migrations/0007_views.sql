-- What was sold, where, and how guests liked it. Orders without a total are left out: their
-- payment has not come yet. Feedback outlives its order, so that of a deleted order counts.
--
-- A day is the local day of the site, since an evening in Ontario reaches into the next day of UTC;
-- a site that analytics.locations does not know counts in UTC. An hour is the same everywhere.
--
-- daily_sales and menu_performance read all history, so they are materialised and refreshed.

create view analytics.hourly_sales as
select
    date_trunc('hour', o.order_ts, 'UTC') as sales_hour,
    o.location_code,
    o.service_type,
    count(*) as order_count,
    sum(o.subtotal) as subtotal,
    sum(o.tax) as tax,
    sum(o.tip) as tip,
    sum(o.total) as total,
    round(avg(o.total), 2) as mean_total
from analytics.orders o
where o.total is not null
group by 1, 2, 3;
comment on view analytics.hourly_sales is 'per hour, location and service type; amounts in dollars';

create materialized view analytics.daily_sales as
select
    (o.order_ts at time zone coalesce(l.time_zone, 'UTC'))::date as sales_day,
    o.location_code,
    count(*) as order_count,
    sum(o.total) as revenue,
    round(avg(o.total), 2) as mean_order,
    sum(o.tip) as tips,
    round(avg(o.tip), 2) as mean_tip
from analytics.orders o
left join analytics.locations l on l.location_code = o.location_code
where o.total is not null
group by 1, 2;
create unique index daily_sales_key on analytics.daily_sales (sales_day, location_code);
comment on materialized view analytics.daily_sales is 'per local day and location; amounts in dollars';

create materialized view analytics.menu_performance as
select
    i.category,
    i.item_name,
    count(*) as line_count,
    sum(i.qty) as quantity,
    sum(i.extended_price) as revenue,
    round(avg(i.unit_price), 2) as mean_unit_price,
    round(avg(i.extended_price), 2) as mean_line_price
from analytics.order_items i
join analytics.orders o on o.order_id = i.order_id
where o.total is not null
group by 1, 2;
create unique index menu_performance_key on analytics.menu_performance (category, item_name);
comment on materialized view analytics.menu_performance is 'per menu item; amounts in dollars';

create view analytics.satisfaction_summary as
select
    (f.created_ts at time zone coalesce(l.time_zone, 'UTC'))::date as feedback_day,
    count(*) as feedback_count,
    round(avg(f.rating), 2) as mean_rating,
    round(avg(f.nps), 2) as mean_nps,
    round(100.0 * count(*) filter (where f.rating >= 4) / count(*), 2) as satisfied_percent,
    round(100.0 * count(*) filter (where f.nps >= 9) / count(*), 2) as promoters_percent,
    round(100.0 * count(*) filter (where f.nps <= 6) / count(*), 2) as detractors_percent,
    round(
        100.0 * (count(*) filter (where f.nps >= 9) - count(*) filter (where f.nps <= 6)) / count(*),
        2
    ) as nps_score
from analytics.feedback f
left join analytics.orders o on o.order_id = f.order_id
left join analytics.locations l on l.location_code = o.location_code
where (f.order_id is null or o.total is not null)
    and f.rating is not null
    and f.nps is not null
group by 1;
comment on view analytics.satisfaction_summary is
    'per local day of the feedback; nps_score is promoters minus detractors, -100 to 100';

create function analytics.nps_score(
    p_from timestamptz default '-infinity', p_until timestamptz default 'infinity'
) returns numeric
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select round(
        100.0 * (count(*) filter (where f.nps >= 9) - count(*) filter (where f.nps <= 6))
        / nullif(count(*), 0), 2)
    from analytics.feedback f
    where f.nps is not null and f.created_ts >= p_from and f.created_ts < p_until
$$;
comment on function analytics.nps_score(timestamptz, timestamptz) is
    'promoters minus detractors in percent over a span of created_ts; null without answers';

-- Refreshing is a right of the owner. Concurrently: readers keep reading the old rows meanwhile.
create function analytics.refresh_views() returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    refresh materialized view concurrently analytics.daily_sales;
    refresh materialized view concurrently analytics.menu_performance;
end
$$;
comment on function analytics.refresh_views() is 'refreshes daily_sales and menu_performance';
