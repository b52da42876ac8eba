-- Menu items or categories ($5) of the hours from $1 until $2, the $7 largest by $6. The roll-up has
-- those of everybody; of some sites ($3) or services ($4) they are added up from the facts.
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
        case $6::text when 'revenue' then s.revenue when 'items' then s.items when 'lines' then s.lines end as number
    from (
        select
            case $5::text when 'item' then item_name else category end as key,
            category,
            sum(lines)::bigint as lines,
            sum(quantity)::bigint as items,
            coalesce(sum(revenue), 0) as revenue
        from (
            select category, item_name, lines, quantity, revenue
            from analytics.items_by_hour
            where $3::text[] is null and $4::text[] is null and hour >= $1 and hour < $2
            union all
            select i.category, i.item_name, 1, i.qty, i.extended_price
            from analytics.orders o
            join analytics.order_items i on i.order_id = o.order_id
            where ($3::text[] is not null or $4::text[] is not null)
                and o.order_ts >= $1 and o.order_ts < $2
                and ($3::text[] is null or o.location_code = any ($3))
                and ($4::text[] is null or o.service_type = any ($4))
        ) c
        group by 1, 2
    ) s
) t
order by t.number desc, t.key
limit $7
