-- One table, one key: what makes a replay safe, and no more.

create schema landing;

create table landing.events (
    epoch text collate "C" not null,
    event_offset bigint not null,
    event_id uuid not null,
    event_type text not null,
    ts timestamptz not null,
    partition_key text,
    payload jsonb not null,
    constraint events_pkey primary key (epoch, event_offset)
);

grant usage on schema landing, sse_stream to restaurant_user;
grant select, insert on landing.events to restaurant_user;
grant select, insert, update, delete on all tables in schema sse_stream to restaurant_user;
