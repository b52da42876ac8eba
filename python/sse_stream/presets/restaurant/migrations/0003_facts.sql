-- Orders, their items, payments and feedback: what the events say, one row per thing.
--
-- Indexes: the keys; order_id of the children, without which deleting an order would scan them;
-- the two times that reports and the live page range over. Columns with a dozen values or fewer
-- (location, service type, category, method, provider, rating, nps) have none: no plan would use
-- it. orders.total has none, so that a payment that arrives later updates its order in place.
--
-- orders.location_code has no foreign key to analytics.locations: a new site must not turn its
-- first orders into dead letters.

create table analytics.orders (
    order_id uuid not null,
    visit_id uuid,
    service_type text not null,
    order_ts timestamptz not null,
    location_code text not null,
    subtotal numeric(10, 2),
    tax numeric(10, 2),
    tip numeric(10, 2),
    total numeric(10, 2),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint orders_pkey primary key (order_id),
    constraint orders_service_type_check check (service_type in ('dine_in', 'takeout', 'delivery'))
);
create index orders_order_ts_idx on analytics.orders (order_ts);

create table analytics.order_items (
    order_item_id uuid not null,
    order_id uuid not null,
    menu_item_id uuid,
    category text not null,
    item_name text not null,
    unit_price numeric(10, 2) not null,
    qty integer not null,
    extended_price numeric(10, 2) not null,
    created_at timestamptz not null default now(),
    constraint order_items_pkey primary key (order_item_id),
    constraint order_items_order_id_fkey foreign key (order_id)
        references analytics.orders (order_id) on delete cascade,
    constraint order_items_unit_price_check check (unit_price > 0),
    constraint order_items_qty_check check (qty > 0),
    constraint order_items_extended_price_check check (extended_price >= 0)
);
create index order_items_order_id_idx on analytics.order_items (order_id);

create table analytics.payments (
    payment_id uuid not null,
    order_id uuid not null,
    method text not null,
    provider text,
    amount numeric(10, 2) not null,
    auth_code text,
    processed_at timestamptz not null default now(),
    constraint payments_pkey primary key (payment_id),
    constraint payments_order_id_fkey foreign key (order_id)
        references analytics.orders (order_id) on delete cascade,
    constraint payments_amount_check check (amount > 0)
);
create index payments_order_id_idx on analytics.payments (order_id);
-- Payments come in the order of their time, so that some lines for many pages find those of an hour.
create index payments_processed_at_idx on analytics.payments
    using brin (processed_at) with (pages_per_range = 32, autosummarize = on);

create table analytics.feedback (
    feedback_id uuid not null,
    order_id uuid,
    customer_id uuid,
    rating integer,
    nps integer,
    comment text,
    created_ts timestamptz not null,
    processed_at timestamptz not null default now(),
    constraint feedback_pkey primary key (feedback_id),
    constraint feedback_order_id_fkey foreign key (order_id)
        references analytics.orders (order_id) on delete set null,
    constraint feedback_rating_check check (rating between 1 and 5),
    constraint feedback_nps_check check (nps between 0 and 10)
);
create index feedback_order_id_idx on analytics.feedback (order_id);
create index feedback_created_ts_idx on analytics.feedback (created_ts);

comment on table analytics.orders is 'one row per order; the money columns are null until its payment';
comment on table analytics.order_items is 'one row per line of an order';
comment on table analytics.payments is 'one row per payment; its split stands in its order';
comment on table analytics.feedback is 'one row per answer of a guest';
comment on column analytics.payments.processed_at is 'time of the payment event';
comment on column analytics.feedback.processed_at is 'time of the feedback event';

-- updated_at follows updates alone, and only such that change something. It is a row trigger, but
-- rows that arrive whole are inserted and never meet it.
create function analytics.touch_updated_at() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    new.updated_at := now();
    return new;
end
$$;

create trigger orders_touch_updated_at
    before update on analytics.orders
    for each row
    when (old.* is distinct from new.*)
    execute function analytics.touch_updated_at();
