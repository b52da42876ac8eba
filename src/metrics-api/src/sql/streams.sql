-- Where the stream $1 and its shards stand. Ages by this server's clock, so that no other matters.
select
    s.stream,
    s.shard,
    s.writers,
    s.epoch,
    s.position,
    s.highest,
    extract(epoch from clock_timestamp() - s.last_heard_at)::float8 as heard_age,
    (
        select count(*) from sse_stream.dead_letters d
        where d.stream = s.stream and d.shard = s.shard and d.state = 'open'
    ) as dead_letters,
    g.gaps,
    g.missed,
    (
        select count(*) from sse_stream.waiting w where w.stream = s.stream and w.shard = s.shard
    ) as waiting
from sse_stream.streams s
cross join lateral (
    select count(*) as gaps, coalesce(sum(last_missed - first_missed + 1), 0)::bigint as missed
    from sse_stream.gaps g
    where g.stream = s.stream and g.shard = s.shard and g.repaired_at is null
) g
where s.stream = $1 or starts_with(s.stream, $1 || '/')
order by s.stream, s.shard
