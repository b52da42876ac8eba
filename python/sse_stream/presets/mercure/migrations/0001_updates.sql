-- Updates of a Mercure hub. What a resource looks like is its publisher's matter: the whole update
-- is kept, and beside it the JSON-LD id of the resource, where there is one.
create schema mercure;

create table mercure.updates (
    update_id text not null,
    -- `message` where the publisher names none.
    update_type text not null,
    resource text,
    payload jsonb not null,
    ingested_at timestamptz not null default now(),
    constraint updates_pkey primary key (update_id)
);
create index updates_resource_idx on mercure.updates (resource) where resource is not null;
