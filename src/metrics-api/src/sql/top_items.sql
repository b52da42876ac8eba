-- Menu items or categories ($4) of the hours from $1 until $2, the $6 largest by $5. The roll-up of
-- items knows hours and locations, no service type.
select
    t.key,
    t.category,
    t.lines,
    t.items,
    round(t.revenue, 2)::text as revenue,
    round(t.number / nullif(sum(t.number) over (), 0), 4)::float8 as share
from (
    select
        s.*,
        case $5::text when 'revenue' then s.revenue when 'items' then s.items when 'lines' then s.lines end as number
    from (
        select
            case $4::text when 'item' then item_name else category end as key,
            category,
            sum(lines)::bigint as lines,
            sum(quantity)::bigint as items,
            coalesce(sum(revenue), 0) as revenue
        from analytics.items_by_hour
        where hour >= $1 and hour < $2 and ($3::text[] is null or location_code = any ($3))
        group by 1, 2
    ) s
) t
order by t.number desc, t.key
limit $6
