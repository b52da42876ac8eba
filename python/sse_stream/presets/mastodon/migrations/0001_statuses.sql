-- Statuses as they were last seen, and what was deleted: a deletion does not remove the status, so
-- that who must forget it can (join the two), and who counts is not misled.
create schema mastodon;

create table mastodon.statuses (
    status_id text not null,
    created_at timestamptz not null,
    edited_at timestamptz,
    account_id text not null,
    account text not null,
    visibility text,
    language text,
    is_sensitive boolean,
    warning text,
    reply_to_id text,
    boost_of_id text,
    url text,
    content text,
    payload jsonb not null,
    ingested_at timestamptz not null default now(),
    constraint statuses_pkey primary key (status_id)
);
create index statuses_created_at_idx on mastodon.statuses (created_at);

create table mastodon.deletions (
    status_id text not null,
    deleted_at timestamptz not null default now(),
    constraint deletions_pkey primary key (status_id)
);
