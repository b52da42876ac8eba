-- Methods of payment from $1 until $2, the $5 largest by $4. Their roll-up knows no service type.
select
    t.key,
    t.payments,
    round(t.amount, 2)::text as amount,
    round(t.number / nullif(sum(t.number) over (), 0), 4)::float8 as share
from (
    select s.*, case $4::text when 'payments' then s.payments when 'amount' then s.amount end as number
    from (
        select method as key, sum(payments)::bigint as payments, coalesce(sum(amount), 0) as amount
        from analytics.payments_by_minute
        where minute >= $1 and minute < $2 and ($3::text[] is null or location_code = any ($3))
        group by 1
    ) s
) t
order by t.number desc, t.key
limit $5
