-- The newest orders from $1 on, at most $4. An order dated into the future would stay on top of the
-- list, so those more than a minute ahead are left out.
select
    o.order_id::text,
    o.order_ts,
    o.location_code,
    l.city,
    o.service_type,
    (select coalesce(sum(i.qty), 0) from analytics.order_items i where i.order_id = o.order_id)::bigint as items,
    o.total::text,
    (
        select p.method from analytics.payments p where p.order_id = o.order_id
        order by p.processed_at, p.payment_id limit 1
    ) as payment_method,
    o.created_at
from (
    select order_id, order_ts, location_code, service_type, total, created_at
    from analytics.orders
    where order_ts >= $1 and order_ts < clock_timestamp() + interval '1 minute'
        and ($2::text[] is null or location_code = any ($2))
        and ($3::text[] is null or service_type = any ($3))
    order by order_ts desc, order_id
    limit $4
) o
left join analytics.locations l on l.location_code = o.location_code
order by o.order_ts desc, o.order_id
