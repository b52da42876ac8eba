-- Seconds since the time of the newest order, null without any; and the orders of five minutes.
select
    (
        select extract(epoch from clock_timestamp() - o.order_ts)::float8
        from analytics.orders o where o.order_ts <= clock_timestamp()
        order by o.order_ts desc limit 1
    ) as data_age,
    (
        select coalesce(sum(s.orders), 0)::bigint from analytics.sales_by_minute s
        where s.minute >= date_trunc('minute', clock_timestamp(), 'UTC') - interval '4 minutes'
    ) as recent_orders
