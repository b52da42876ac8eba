-- Orders and revenue of each minute from $1 until $2, those without any included.
select
    m.minute,
    coalesce(s.orders, 0)::bigint as orders,
    round(coalesce(s.revenue, 0), 2)::text as revenue
from generate_series($1::timestamptz, $2::timestamptz - interval '1 minute', interval '1 minute') m (minute)
left join (
    select minute, sum(orders) as orders, sum(revenue) as revenue
    from analytics.sales_by_minute
    where minute >= $1 and minute < $2
        and ($3::text[] is null or location_code = any ($3))
        and ($4::text[] is null or service_type = any ($4))
    group by minute
) s on s.minute = m.minute
order by m.minute
