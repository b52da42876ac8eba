-- The data model of the first design, for comparison: the same five tables as ours with every index
-- that was planned there, row-level audit on orders and payments, and offsets as the key of raw
-- events. What costs nothing while events land (views, functions, roles) is left out, and so is
-- staging.event_staging, which no contestant uses.

create schema raw_data;
create schema analytics;

create table raw_data.events_raw (
    event_offset bigint primary key,
    event_id uuid not null unique,
    event_type text not null,
    ts timestamptz not null,
    partition_key text,
    payload jsonb not null,
    ingested_at timestamptz default now(),
    ingested_by text default current_user
);
create index on raw_data.events_raw (ts);
create index on raw_data.events_raw (event_type);
create index on raw_data.events_raw (partition_key);
create index on raw_data.events_raw (ingested_at);
create index events_raw_payload_idx on raw_data.events_raw using gin (payload);

create table analytics.orders (
    order_id uuid primary key,
    visit_id uuid,
    service_type text not null check (service_type in ('dine_in', 'takeout', 'delivery')),
    order_ts timestamptz not null,
    location_code text not null,
    subtotal numeric(10, 2),
    tax numeric(10, 2),
    tip numeric(10, 2),
    total numeric(10, 2),
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);
create index on analytics.orders (order_ts);
create index on analytics.orders (location_code);
create index on analytics.orders (service_type);
create index on analytics.orders (total);

create table analytics.order_items (
    order_item_id uuid primary key,
    order_id uuid not null references analytics.orders on delete cascade,
    menu_item_id uuid,
    category text not null,
    item_name text not null,
    unit_price numeric(10, 2) not null check (unit_price > 0),
    qty integer not null check (qty > 0),
    extended_price numeric(10, 2) not null check (extended_price >= 0),
    created_at timestamptz default now()
);
create index on analytics.order_items (order_id);
create index on analytics.order_items (category);
create index on analytics.order_items (menu_item_id);

create table analytics.payments (
    payment_id uuid primary key,
    order_id uuid not null references analytics.orders on delete cascade,
    method text not null,
    provider text,
    amount numeric(10, 2) not null check (amount > 0),
    auth_code text,
    processed_at timestamptz default now()
);
create index on analytics.payments (order_id);
create index on analytics.payments (method);
create index on analytics.payments (provider);
create index on analytics.payments (processed_at);

create table analytics.feedback (
    feedback_id uuid primary key,
    order_id uuid references analytics.orders on delete set null,
    customer_id uuid,
    rating integer check (rating between 1 and 5),
    nps integer check (nps between 0 and 10),
    comment text,
    created_ts timestamptz not null,
    processed_at timestamptz default now()
);
create index on analytics.feedback (order_id);
create index on analytics.feedback (rating);
create index on analytics.feedback (nps);
create index on analytics.feedback (created_ts);

create table analytics.audit_log (
    id serial primary key,
    "timestamp" timestamptz default now(),
    user_name text default current_user,
    operation text not null,
    table_name text,
    record_id text,
    old_values jsonb,
    new_values jsonb,
    details jsonb
);

-- The argument of the trigger is the name of the primary key's column.
create function analytics.audit_row() returns trigger
    language plpgsql
as $$
declare
    v_old constant jsonb := case when tg_op = 'DELETE' then to_jsonb(old) end;
    v_new constant jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
begin
    insert into analytics.audit_log (operation, table_name, record_id, old_values, new_values)
    values (
        tg_op, tg_table_schema || '.' || tg_table_name,
        coalesce(v_new, v_old) ->> tg_argv[0], v_old, v_new);
    return coalesce(new, old);
end
$$;

create trigger audit after insert or update or delete on analytics.orders
    for each row execute function analytics.audit_row('order_id');
create trigger audit after insert or update or delete on analytics.payments
    for each row execute function analytics.audit_row('payment_id');

grant usage on schema raw_data, analytics to restaurant_user;
grant all on all tables in schema raw_data, analytics to restaurant_user;
grant all on all sequences in schema raw_data, analytics to restaurant_user;
