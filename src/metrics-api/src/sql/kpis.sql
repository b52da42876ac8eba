-- Sums of a window. $1 from and $2 until are full minutes; $3 codes and $4 service types, null for
-- all; what lies between $5 and $6, a part of one minute, is counted from the facts.
select
    coalesce(sum(p.orders), 0)::bigint as orders,
    round(coalesce(sum(p.revenue), 0), 2)::text as revenue,
    round(sum(p.revenue) / nullif(sum(p.priced_orders), 0), 2)::text as mean_ticket,
    round(coalesce(sum(p.tips), 0), 2)::text as tips,
    coalesce(sum(p.items), 0)::bigint as items,
    coalesce(sum(p.feedback), 0)::bigint as feedback,
    round(sum(p.rating_sum) / nullif(sum(p.ratings), 0), 2)::text as rating,
    round(100.0 * sum(p.nps_sum) / nullif(sum(p.nps_answers), 0), 1)::float8 as nps
from (
    select orders, priced_orders, revenue, tips, items, feedback, ratings, rating_sum, nps_answers, nps_sum
    from analytics.sales_by_minute
    where minute >= $1 and minute < $2
        and ($3::text[] is null or location_code = any ($3))
        and ($4::text[] is null or service_type = any ($4))
    union all
    select 1, (o.total is not null)::integer, o.total, o.tip, i.items, 0, 0, 0, 0, 0
    from analytics.orders o
    cross join lateral (
        select coalesce(sum(l.qty), 0) as items from analytics.order_items l where l.order_id = o.order_id
    ) i
    where o.order_ts >= $5 and o.order_ts < $6
        and ($3::text[] is null or o.location_code = any ($3))
        and ($4::text[] is null or o.service_type = any ($4))
    union all
    select
        0, 0, 0, 0, 0, 1,
        (f.rating is not null)::integer,
        coalesce(f.rating, 0),
        (f.nps is not null)::integer,
        case when f.nps >= 9 then 1 when f.nps <= 6 then -1 else 0 end
    from analytics.feedback f
    left join analytics.orders o on o.order_id = f.order_id
    where f.created_ts >= $5 and f.created_ts < $6
        and ($3::text[] is null or coalesce(o.location_code, '') = any ($3))
        and ($4::text[] is null or coalesce(o.service_type, '') = any ($4))
) p
