-- Methods of payment from $1 until $2, the $6 largest by $5. The roll-up has those of everybody; of
-- some sites ($3) or services ($4) they are added up from the facts.
select
    t.key,
    t.payments,
    round(t.amount, 2)::text as amount,
    round(t.number / nullif(sum(t.number) over (), 0), 4)::float8 as share
from (
    select s.*, case $5::text when 'payments' then s.payments when 'amount' then s.amount end as number
    from (
        select method as key, sum(payments)::bigint as payments, coalesce(sum(amount), 0) as amount
        from (
            select method, payments, amount
            from analytics.payments_by_minute
            where $3::text[] is null and $4::text[] is null and minute >= $1 and minute < $2
            union all
            select p.method, 1, p.amount
            from analytics.payments p
            join analytics.orders o on o.order_id = p.order_id
            where ($3::text[] is not null or $4::text[] is not null)
                and p.processed_at >= $1 and p.processed_at < $2
                and ($3::text[] is null or o.location_code = any ($3))
                and ($4::text[] is null or o.service_type = any ($4))
        ) c
        group by 1
    ) s
) t
order by t.number desc, t.key
limit $6
