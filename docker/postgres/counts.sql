-- How much there is and how fresh it is, as names and values. Reading as anybody who may.
with place as (
    select s.epoch, s.position, s.highest, s.mirrored
    from sse_stream.streams s
    where s.stream = :'stream'
    order by s.updated_at desc
    limit 1
), newest as (
    -- Not the newest of all: without an index on the time that would read every row.
    select max(e.ingested_at) as ingested_at
    from place p
    join raw_data.events_raw e on e.epoch = p.epoch
        and e.event_offset > p.highest - 10000 and e.event_offset <= p.highest
)
select 'raw', (select count(*) from raw_data.events_raw)::text
union all select 'orders', (select count(*) from analytics.orders)::text
union all select 'order items', (select count(*) from analytics.order_items)::text
union all select 'payments', (select count(*) from analytics.payments)::text
union all select 'feedback', (select count(*) from analytics.feedback)::text
union all select 'audit', (select count(*) from analytics.audit_log)::text
union all select 'dead letters', (
    select count(*) from sse_stream.dead_letters where state = 'open')::text
union all select 'waiting', (select count(*) from sse_stream.waiting)::text
union all select 'offset', coalesce((select position from place), 0)::text
union all select 'mirrored', coalesce((select coalesce(mirrored, position) from place), 0)::text
union all select 'last ingestion', coalesce((
    select to_char(ingested_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') from newest), 'never')
union all select 'seconds since', coalesce((
    select round(extract(epoch from clock_timestamp() - ingested_at))::text from newest), 'never');
