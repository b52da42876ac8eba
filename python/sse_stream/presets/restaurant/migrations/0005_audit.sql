-- Who changed which fact, from what to what. Replaying the log from its start rebuilds each fact
-- table exactly.
--
-- Triggers run once per statement over its transition tables: half the price of row triggers. The
-- function runs with its owner's rights, so that nobody who writes facts can write or change the
-- log; the actor is session_user, which neither set role nor security definer alters. It records
-- changes: an update that leaves a row as it was adds nothing, and neither does a replay.
--
-- Partitioned by day, because it grows by about one row per event and is kept for a month. There
-- is no index on (table_name, record_id): random keys would cost every event, and the log is read
-- seldom.

create table analytics.audit_log (
    audit_id bigint generated always as identity,
    logged_at timestamptz not null default now(),
    user_name text not null default session_user,
    operation text not null,
    table_name text not null,
    record_id text,
    old_values jsonb,
    new_values jsonb,
    details jsonb,
    constraint audit_log_pkey primary key (audit_id, logged_at),
    constraint audit_log_operation_check
        check (operation in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'))
) partition by range (logged_at);

create table analytics.audit_log_default partition of analytics.audit_log default;

comment on table analytics.audit_log is 'every change of a fact; replay in the order of audit_id';
comment on column analytics.audit_log.user_name is 'the login that made the change';
comment on column analytics.audit_log.record_id is 'primary key of the changed row; null for TRUNCATE';

-- The argument of the trigger is the name of the primary key's column.
create function analytics.audit_changes() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    v_key constant text := tg_argv[0];
    v_table constant text := tg_table_schema || '.' || tg_table_name;
    v_rows bigint;
begin
    -- "offset 0" keeps the planner from computing to_jsonb once per use.
    if tg_op = 'INSERT' then
        insert into analytics.audit_log (operation, table_name, record_id, new_values)
        select 'INSERT', v_table, n.j ->> v_key, n.j
        from (select to_jsonb(r) as j from new_rows r offset 0) n;
    elsif tg_op = 'DELETE' then
        insert into analytics.audit_log (operation, table_name, record_id, old_values)
        select 'DELETE', v_table, o.j ->> v_key, o.j
        from (select to_jsonb(r) as j from old_rows r offset 0) o;
    elsif tg_op = 'UPDATE' then
        -- Transition tables do not say which old row became which new one, the key does. A changed
        -- key reads as a row that went and a row that came.
        insert into analytics.audit_log (operation, table_name, record_id, old_values, new_values)
        select
            case when o.j is null then 'INSERT' when n.j is null then 'DELETE' else 'UPDATE' end,
            v_table,
            coalesce(n.k, o.k),
            o.j,
            n.j
        from (select j, j ->> v_key as k from (select to_jsonb(r) as j from old_rows r offset 0) x) o
        full join (select j, j ->> v_key as k from (select to_jsonb(r) as j from new_rows r offset 0) x) n
            on n.k = o.k
        where o.j is distinct from n.j;
    else
        -- Before the truncation, while the rows can still be counted.
        execute format('select count(*) from %I.%I', tg_table_schema, tg_table_name) into v_rows;
        insert into analytics.audit_log (operation, table_name, details)
        values ('TRUNCATE', v_table, jsonb_build_object('rows', v_rows));
    end if;
    return null;
end
$$;

create trigger orders_audit_insert after insert on analytics.orders
    referencing new table as new_rows
    for each statement execute function analytics.audit_changes('order_id');
create trigger orders_audit_update after update on analytics.orders
    referencing old table as old_rows new table as new_rows
    for each statement execute function analytics.audit_changes('order_id');
create trigger orders_audit_delete after delete on analytics.orders
    referencing old table as old_rows
    for each statement execute function analytics.audit_changes('order_id');
create trigger orders_audit_truncate before truncate on analytics.orders
    for each statement execute function analytics.audit_changes('order_id');

create trigger order_items_audit_insert after insert on analytics.order_items
    referencing new table as new_rows
    for each statement execute function analytics.audit_changes('order_item_id');
create trigger order_items_audit_update after update on analytics.order_items
    referencing old table as old_rows new table as new_rows
    for each statement execute function analytics.audit_changes('order_item_id');
create trigger order_items_audit_delete after delete on analytics.order_items
    referencing old table as old_rows
    for each statement execute function analytics.audit_changes('order_item_id');
create trigger order_items_audit_truncate before truncate on analytics.order_items
    for each statement execute function analytics.audit_changes('order_item_id');

create trigger payments_audit_insert after insert on analytics.payments
    referencing new table as new_rows
    for each statement execute function analytics.audit_changes('payment_id');
create trigger payments_audit_update after update on analytics.payments
    referencing old table as old_rows new table as new_rows
    for each statement execute function analytics.audit_changes('payment_id');
create trigger payments_audit_delete after delete on analytics.payments
    referencing old table as old_rows
    for each statement execute function analytics.audit_changes('payment_id');
create trigger payments_audit_truncate before truncate on analytics.payments
    for each statement execute function analytics.audit_changes('payment_id');

create trigger feedback_audit_insert after insert on analytics.feedback
    referencing new table as new_rows
    for each statement execute function analytics.audit_changes('feedback_id');
create trigger feedback_audit_update after update on analytics.feedback
    referencing old table as old_rows new table as new_rows
    for each statement execute function analytics.audit_changes('feedback_id');
create trigger feedback_audit_delete after delete on analytics.feedback
    referencing old table as old_rows
    for each statement execute function analytics.audit_changes('feedback_id');
create trigger feedback_audit_truncate before truncate on analytics.feedback
    for each statement execute function analytics.audit_changes('feedback_id');
