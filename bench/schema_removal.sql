-- Takes the newest events out again, so that the same rows can be loaded once more. First what they
-- are, once:
create table public.bench_events as
select event_offset, ts, (payload ->> 'order_id')::uuid as order_id,
    (payload ->> 'order_item_id')::uuid as order_item_id,
    (payload ->> 'payment_id')::uuid as payment_id,
    (payload ->> 'feedback_id')::uuid as feedback_id,
    event_type
from raw_data.events_raw where event_offset > :stored;
analyze public.bench_events;
create table public.bench_audit as select max(audit_id) as last from analytics.audit_log;
-- The audit of the rows themselves goes with them: one line per fact.
update public.bench_audit set last = last - (
    select count(*) from public.bench_events);
-- remove
set session_replication_role = replica;
delete from analytics.feedback f using public.bench_events e where f.feedback_id = e.feedback_id;
delete from analytics.payments p using public.bench_events e where p.payment_id = e.payment_id;
delete from analytics.order_items i using public.bench_events e where i.order_item_id = e.order_item_id;
delete from analytics.orders o using public.bench_events e
    where e.event_type = 'order_created' and o.order_id = e.order_id;
delete from raw_data.events_raw r using public.bench_events e
    where r.event_offset = e.event_offset and r.ts = e.ts and r.epoch = 'bench';
delete from analytics.audit_log using public.bench_audit b where audit_id > b.last;
reset session_replication_role;
