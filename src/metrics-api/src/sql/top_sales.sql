-- Locations or service types ($5) from $1 until $2, the $7 largest by $6, with their share of all.
select
    t.key,
    case when $5::text = 'location' then l.name end as name,
    case when $5::text = 'location' then l.city end as city,
    t.orders,
    round(t.revenue, 2)::text as revenue,
    round(t.tips, 2)::text as tips,
    t.items,
    t.feedback,
    round(t.rating, 2)::text as rating,
    round(t.number / nullif(sum(t.number) over (), 0), 4)::float8 as share
from (
    select
        s.*,
        case $6::text
            when 'orders' then s.orders
            when 'revenue' then s.revenue
            when 'tips' then s.tips
            when 'items' then s.items
            when 'feedback' then s.feedback
        end as number
    from (
        select
            case $5::text when 'location' then location_code else service_type end as key,
            sum(orders)::bigint as orders,
            coalesce(sum(revenue), 0) as revenue,
            coalesce(sum(tips), 0) as tips,
            sum(items)::bigint as items,
            sum(feedback)::bigint as feedback,
            sum(rating_sum) / nullif(sum(ratings), 0) as rating
        from analytics.sales_by_minute
        where minute >= $1 and minute < $2
            and ($3::text[] is null or location_code = any ($3))
            and ($4::text[] is null or service_type = any ($4))
        group by 1
    ) s
) t
left join analytics.locations l on l.location_code = t.key
order by t.number desc, t.key
limit $7
