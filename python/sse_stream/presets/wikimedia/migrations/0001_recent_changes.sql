-- Changes to Wikimedia's wikis: what most questions need as columns, and all of it beside.
create schema wikimedia;

create table wikimedia.recent_changes (
    event_id uuid not null,
    happened_at timestamptz not null,
    domain text not null,
    wiki text,
    -- edit, new, log, categorize or external.
    change_type text,
    namespace integer,
    title text,
    user_name text,
    is_bot boolean,
    comment text,
    -- Only edits have both; a log entry has neither.
    length_before bigint,
    length_after bigint,
    revision_before bigint,
    revision_after bigint,
    payload jsonb not null,
    ingested_at timestamptz not null default now(),
    constraint recent_changes_pkey primary key (event_id)
);
create index recent_changes_happened_at_idx on wikimedia.recent_changes using brin (happened_at);
