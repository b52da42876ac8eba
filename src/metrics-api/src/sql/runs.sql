-- The newest runs that read the stream $1, its shards or its windows of time.
select
    r.stream, r.dag_id, r.run_id, r.started_at, r.ended_at, r.events, r.rows, r.dead_letters,
    r.stop_reason, r.error, nullif(r.log_url, '') as log_url,
    extract(epoch from clock_timestamp() - coalesce(r.ended_at, r.started_at))::float8 as age
from sse_stream.runs r
where r.stream = $1 or starts_with(r.stream, $1 || '/') or starts_with(r.stream, $1 || '@')
order by r.started_at desc, r.id desc
limit $2
