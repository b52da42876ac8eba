-- Messages of ntfy topics.
create schema ntfy;

create table ntfy.messages (
    message_id text not null,
    topic text not null,
    -- As sent, in seconds since 1970.
    sent_seconds bigint not null,
    sent_at timestamptz not null generated always as (to_timestamp(sent_seconds)) stored,
    title text,
    message text,
    -- 1 to 5; null means 3.
    priority smallint,
    tags jsonb,
    click text,
    payload jsonb not null,
    ingested_at timestamptz not null default now(),
    constraint messages_pkey primary key (message_id)
);
create index messages_topic_sent_at_idx on ntfy.messages (topic, sent_at);
