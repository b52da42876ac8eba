-- What a design could add to our schema or take from it, each with the way back. bench/sections/schema.py
-- applies one at a time and measures what an event costs.

-- variant: without statement-level audit
do $$
declare
    v_trigger record;
begin
    for v_trigger in
        select tgname, tgrelid::regclass as t from pg_trigger where tgname ~ '_audit_(insert|update|delete|truncate)$'
    loop
        execute format('alter table %s disable trigger %I', v_trigger.t, v_trigger.tgname);
    end loop;
end
$$;
-- undo
do $$
declare
    v_trigger record;
begin
    for v_trigger in
        select tgname, tgrelid::regclass as t from pg_trigger where tgname ~ '_audit_(insert|update|delete|truncate)$'
    loop
        execute format('alter table %s enable trigger %I', v_trigger.t, v_trigger.tgname);
    end loop;
end
$$;

-- variant: without counted sales
do $$
declare
    v_trigger record;
begin
    for v_trigger in
        select tgname, tgrelid::regclass as t from pg_trigger where tgname ~ '_roll_up_'
    loop
        execute format('alter table %s disable trigger %I', v_trigger.t, v_trigger.tgname);
    end loop;
end
$$;
-- undo
do $$
declare
    v_trigger record;
begin
    for v_trigger in
        select tgname, tgrelid::regclass as t from pg_trigger where tgname ~ '_roll_up_'
    loop
        execute format('alter table %s enable trigger %I', v_trigger.t, v_trigger.tgname);
    end loop;
end
$$;

-- variant: row-level audit in its place
create function analytics.bench_audit_row() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    v_new constant jsonb := to_jsonb(new);
begin
    insert into analytics.audit_log (operation, table_name, record_id, new_values)
    values (tg_op, tg_table_schema || '.' || tg_table_name, v_new ->> tg_argv[0], v_new);
    return null;
end
$$;
alter table analytics.orders disable trigger orders_audit_insert;
alter table analytics.order_items disable trigger order_items_audit_insert;
alter table analytics.payments disable trigger payments_audit_insert;
alter table analytics.feedback disable trigger feedback_audit_insert;
create trigger bench_audit after insert on analytics.orders
    for each row execute function analytics.bench_audit_row('order_id');
create trigger bench_audit after insert on analytics.order_items
    for each row execute function analytics.bench_audit_row('order_item_id');
create trigger bench_audit after insert on analytics.payments
    for each row execute function analytics.bench_audit_row('payment_id');
create trigger bench_audit after insert on analytics.feedback
    for each row execute function analytics.bench_audit_row('feedback_id');
-- undo
drop function analytics.bench_audit_row() cascade;
alter table analytics.orders enable trigger orders_audit_insert;
alter table analytics.order_items enable trigger order_items_audit_insert;
alter table analytics.payments enable trigger payments_audit_insert;
alter table analytics.feedback enable trigger feedback_audit_insert;

-- variant: without the three foreign keys
alter table analytics.order_items drop constraint order_items_order_id_fkey;
alter table analytics.payments drop constraint payments_order_id_fkey;
alter table analytics.feedback drop constraint feedback_order_id_fkey;
-- undo
alter table analytics.order_items add constraint order_items_order_id_fkey
    foreign key (order_id) references analytics.orders (order_id) on delete cascade;
alter table analytics.payments add constraint payments_order_id_fkey
    foreign key (order_id) references analytics.orders (order_id) on delete cascade;
alter table analytics.feedback add constraint feedback_order_id_fkey
    foreign key (order_id) references analytics.orders (order_id) on delete set null;

-- variant: without CHECK constraints of the facts
alter table analytics.orders drop constraint orders_service_type_check;
alter table analytics.order_items drop constraint order_items_unit_price_check,
    drop constraint order_items_qty_check, drop constraint order_items_extended_price_check;
alter table analytics.payments drop constraint payments_amount_check;
alter table analytics.feedback drop constraint feedback_rating_check,
    drop constraint feedback_nps_check;
-- undo
alter table analytics.orders add constraint orders_service_type_check
    check (service_type in ('dine_in', 'takeout', 'delivery'));
alter table analytics.order_items
    add constraint order_items_unit_price_check check (unit_price > 0),
    add constraint order_items_qty_check check (qty > 0),
    add constraint order_items_extended_price_check check (extended_price >= 0);
alter table analytics.payments add constraint payments_amount_check check (amount > 0);
alter table analytics.feedback add constraint feedback_rating_check check (rating between 1 and 5),
    add constraint feedback_nps_check check (nps between 0 and 10);

-- variant: without unique (event_id, ts)
alter table raw_data.events_raw drop constraint events_raw_event_id_key;
-- undo
alter table raw_data.events_raw add constraint events_raw_event_id_key unique (event_id, ts);

-- variant: without BRIN on the times
drop index raw_data.events_raw_times_idx;
-- undo
create index events_raw_times_idx on raw_data.events_raw
    using brin (ts, ingested_at) with (pages_per_range = 32, autosummarize = on);

-- variant: without b-trees on the children's order_id
drop index analytics.order_items_order_id_idx;
drop index analytics.payments_order_id_idx;
drop index analytics.feedback_order_id_idx;
-- undo
create index order_items_order_id_idx on analytics.order_items (order_id);
create index payments_order_id_idx on analytics.payments (order_id);
create index feedback_order_id_idx on analytics.feedback (order_id);

-- variant: without b-trees on order_ts and created_ts
drop index analytics.orders_order_ts_idx;
drop index analytics.feedback_created_ts_idx;
-- undo
create index orders_order_ts_idx on analytics.orders (order_ts);
create index feedback_created_ts_idx on analytics.feedback (created_ts);

-- variant: with GIN on payload
create index bench_payload_idx on raw_data.events_raw using gin (payload);
-- undo
drop index raw_data.bench_payload_idx;

-- variant: with GIN jsonb_path_ops (optional file)
create index bench_payload_idx on raw_data.events_raw using gin (payload jsonb_path_ops);
-- undo
drop index raw_data.bench_payload_idx;

-- variant: with the first design's secondary b-trees
create index bench_1 on raw_data.events_raw (event_type);
create index bench_2 on raw_data.events_raw (partition_key);
create index bench_3 on raw_data.events_raw (ts);
create index bench_4 on raw_data.events_raw (ingested_at);
create index bench_5 on analytics.orders (location_code);
create index bench_6 on analytics.orders (service_type);
create index bench_7 on analytics.orders (total);
create index bench_8 on analytics.order_items (category);
create index bench_9 on analytics.order_items (menu_item_id);
create index bench_10 on analytics.payments (method);
create index bench_11 on analytics.payments (provider);
create index bench_12 on analytics.payments (processed_at);
create index bench_13 on analytics.feedback (rating);
create index bench_14 on analytics.feedback (nps);
-- undo
drop index raw_data.bench_1, raw_data.bench_2, raw_data.bench_3, raw_data.bench_4;
drop index analytics.bench_5, analytics.bench_6, analytics.bench_7, analytics.bench_8,
    analytics.bench_9, analytics.bench_10, analytics.bench_11, analytics.bench_12,
    analytics.bench_13, analytics.bench_14;
