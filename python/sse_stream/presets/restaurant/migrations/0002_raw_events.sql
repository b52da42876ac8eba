-- Every event as it came, so that facts can be checked against it and rebuilt from it.
--
-- Partitioned by day of ts (UTC) from the start: retention drops a table instead of deleting half a
-- million rows. The key carries the epoch, because offsets start again when the source loses its
-- history, and ts, because a unique key of a partitioned table must hold the partition key.
--
-- Indexes are few on purpose; each is paid for by every event. A GIN index on payload would cost
-- more than all else together: optional/payload_index.sql adds one for those who search payloads.
-- event_type and partition_key have too few values for an index to be used. The BRIN index costs
-- almost nothing, since both times grow with the table.

create table raw_data.events_raw (
    -- Compared byte by byte: an epoch is opaque, and the default collation would cost more.
    epoch text collate "C" not null,
    event_offset bigint not null,
    event_id uuid not null,
    event_type text not null,
    ts timestamptz not null,
    partition_key text,
    payload jsonb not null,
    ingested_at timestamptz not null default now(),
    ingested_by text not null default session_user,
    constraint events_raw_pkey primary key (epoch, event_offset, ts),
    constraint events_raw_event_id_key unique (event_id, ts)
) partition by range (ts);

create index events_raw_times_idx on raw_data.events_raw
    using brin (ts, ingested_at) with (pages_per_range = 32, autosummarize = on);

-- An event of a day without partition must land too; see raw_data.ensure_partitions.
create table raw_data.events_raw_default partition of raw_data.events_raw default;

comment on table raw_data.events_raw is 'events as received; partitioned by day of ts in UTC';
comment on column raw_data.events_raw.epoch is 'opaque id of one unbroken history of the source';
comment on column raw_data.events_raw.event_offset is 'position of the event within its epoch';
comment on column raw_data.events_raw.ts is 'time of the event, set by the source';
comment on column raw_data.events_raw.ingested_at is 'start of the transaction that stored it';
