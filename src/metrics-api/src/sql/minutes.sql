-- One row per minute, location and service type from $1 until $2; at most $5 of them, ordered by $6,
-- from the largest down where $7 is true.
select
    r.minute, r.location_code, r.service_type, r.orders, r.revenue, r.tips, r.items, r.feedback, r.rating, r.nps
from (
    select
        minute,
        location_code,
        service_type,
        orders::bigint as orders,
        round(coalesce(revenue, 0), 2)::text as revenue,
        round(coalesce(tips, 0), 2)::text as tips,
        items::bigint as items,
        feedback::bigint as feedback,
        round(rating_sum::numeric / nullif(ratings, 0), 2)::text as rating,
        round(100.0 * nps_sum / nullif(nps_answers, 0), 1)::float8 as nps,
        case $6::text
            when 'minute' then extract(epoch from minute)
            when 'orders' then orders
            when 'revenue' then revenue
            when 'tips' then tips
            when 'items' then items
            when 'feedback' then feedback
            when 'rating' then rating_sum::numeric / nullif(ratings, 0)
            when 'nps' then nps_sum::numeric / nullif(nps_answers, 0)
        end as number,
        case $6::text when 'location' then location_code when 'service_type' then service_type end as word
    from analytics.sales_by_minute
    where minute >= $1 and minute < $2
        and ($3::text[] is null or location_code = any ($3))
        and ($4::text[] is null or service_type = any ($4))
) r
order by
    case when $7::boolean then r.number end desc nulls last,
    case when $7::boolean then r.word end desc nulls last,
    case when not $7::boolean then r.number end asc nulls last,
    case when not $7::boolean then r.word end asc nulls last,
    r.minute desc, r.location_code, r.service_type
limit $5
