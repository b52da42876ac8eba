-- The engine's own books. They live beside the data, because the promise "exactly once" rests on
-- committing an offset in the transaction that stores the rows.

-- Where each stream stands: a row for each of its writers, each moved in the transaction that stores
-- that writer's rows. A run begins by giving all of them the same numbers, those of the view
-- sse_stream.streams.
create table sse_stream.offsets (
    stream text not null,
    shard integer not null default 0,
    writer integer not null default 0,
    -- The history the numbers below belong to; null until the source has named one.
    epoch text,
    -- Where to resume: what came up to here and is this writer's was committed. A rewind lowers it.
    position bigint not null default 0,
    -- The highest such id in this epoch: below it, what did not come lies in an open gap.
    high_water bigint not null default 0,
    -- No writer has committed anything above it in this epoch, so that what is above is new. It only
    -- ever chooses the path, direct or replay-safe; it never decides that a keyed event is dropped.
    highest bigint not null default 0,
    -- What was last written to the Airflow Variable, and what before that: a Variable that holds
    -- neither was changed by a person, who asks for a rewind. Kept by writer 0.
    mirrored bigint,
    previously_mirrored bigint,
    -- Where the numbers above are our own count of events: the source's id of the last event up to
    -- position, from which to resume; empty where it has none. Null where ids are the numbers.
    resume_token text,
    -- Who holds the stream, and a counter that grows with every change of hands, so that a run
    -- which lost the stream without noticing cannot commit.
    owner text,
    fence bigint not null default 0,
    -- When the source was last heard, a comment included.
    last_heard_at timestamptz,
    updated_at timestamptz not null default now(),
    constraint offsets_pkey primary key (stream, shard, writer),
    constraint offsets_position_check check (position >= 0),
    constraint offsets_high_water_check check (high_water >= 0),
    constraint offsets_highest_check check (highest >= high_water)
);

-- Where each stream stands, whatever the number of its writers.
create view sse_stream.streams as
select
    stream,
    shard,
    count(*)::integer as writers,
    max(epoch) as epoch,
    min(position) as position,
    min(high_water) as high_water,
    max(highest) as highest,
    max(mirrored) filter (where writer = 0) as mirrored,
    max(previously_mirrored) filter (where writer = 0) as previously_mirrored,
    (array_agg(resume_token order by position, writer))[1] as resume_token,
    max(owner) filter (where writer = 0) as owner,
    max(fence) as fence,
    max(last_heard_at) as last_heard_at,
    max(updated_at) as updated_at
from sse_stream.offsets
group by stream, shard;

-- The histories a stream has had, in the order in which we met them.
create table sse_stream.epochs (
    stream text not null,
    shard integer not null default 0,
    epoch text not null,
    began_at timestamptz not null default now(),
    -- As in offsets, when the source left it.
    high_water bigint not null default 0,
    highest bigint not null default 0,
    constraint epochs_pkey primary key (stream, shard, epoch)
);

-- Offsets that the source did not give us: loss that can be seen can be repaired.
create table sse_stream.gaps (
    gap_id bigint generated always as identity,
    stream text not null,
    shard integer not null default 0,
    epoch text not null,
    first_missed bigint not null,
    last_missed bigint not null,
    -- offset_jump: dense offsets went on further up; in_band: an event said so; anchor: a response
    -- header did; gone: the source answered 410; reset: a person moved the offset forward;
    -- reconnect: a source that sends nothing again was connected to again. Where offsets are our own
    -- count, a line is one number that no event has, and stands for an unknown number of events.
    noticed_by text not null,
    noticed_at timestamptz not null default now(),
    run_id text,
    repaired_at timestamptz,
    constraint gaps_pkey primary key (gap_id),
    constraint gaps_range_key unique (stream, shard, epoch, first_missed, last_missed),
    constraint gaps_range_check check (first_missed <= last_missed),
    constraint gaps_noticed_by_check check (
        noticed_by in ('offset_jump', 'in_band', 'anchor', 'gone', 'reset', 'reconnect')
    )
);

-- Every event that did not land, with the reason and the bytes to land it later.
create table sse_stream.dead_letters (
    dead_letter_id bigint generated always as identity,
    stream text not null,
    shard integer not null default 0,
    epoch text not null default '',
    event_offset bigint,
    -- The id as the source wrote it, empty where it sent none.
    source_id text not null default '',
    event_type text,
    reason_code text not null,
    reason text not null,
    raw bytea not null,
    -- Whether its rows for `*` stand already: it waited for its parent before it died.
    raw_landed boolean not null default false,
    attempts integer not null default 1,
    run_id text,
    created_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    -- open; replayed: it landed after all; discarded: a person gave it up. Never deleted by either.
    state text not null default 'open',
    settled_at timestamptz,
    settled_by text,
    constraint dead_letters_pkey primary key (dead_letter_id),
    constraint dead_letters_state_check check (state in ('open', 'replayed', 'discarded'))
);
-- The same event with the same bytes seen again is one more attempt, not one more letter.
create unique index dead_letters_event_key
    on sse_stream.dead_letters (stream, shard, epoch, source_id, md5(raw));
create index dead_letters_created_at_idx on sse_stream.dead_letters (created_at);

-- Children that came before their parents. Their rows for `*` stand and the offset has moved on;
-- the others land when the parent does. An event that waits for several parents names one of them.
create table sse_stream.waiting (
    waiting_id bigint generated always as identity,
    stream text not null,
    shard integer not null default 0,
    epoch text not null default '',
    event_offset bigint not null,
    source_id text not null default '',
    event_type text not null,
    parent_table text not null,
    -- The parent's key: as COPY encodes it, to find it by, and as text, for people.
    parent_key bytea not null,
    parent_id text not null,
    raw bytea not null,
    run_id text,
    first_seen_at timestamptz not null default now(),
    constraint waiting_pkey primary key (waiting_id)
);
create unique index waiting_event_key
    on sse_stream.waiting (stream, shard, epoch, source_id, md5(raw));
create index waiting_parent_idx on sse_stream.waiting (stream, shard, parent_table, parent_key);

-- One row per run of a task, kept for a month: what it did and how it ended.
create table sse_stream.runs (
    id bigint generated always as identity,
    stream text not null,
    shard integer not null default 0,
    dag_id text not null default '',
    task_id text not null default '',
    run_id text not null default '',
    map_index integer not null default -1,
    try_number integer not null default 0,
    log_url text not null default '',
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    events bigint not null default 0,
    rows bigint not null default 0,
    duplicates bigint not null default 0,
    dead_letters bigint not null default 0,
    bytes bigint not null default 0,
    first_offset bigint,
    last_offset bigint,
    epoch text,
    stop_reason text,
    error text,
    constraint runs_pkey primary key (id)
);
create index runs_stream_started_at_idx on sse_stream.runs (stream, started_at);
