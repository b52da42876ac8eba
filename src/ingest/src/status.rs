//! What the books say about a stream, as JSON for people and programs.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::connect::DatabaseConfig;
use crate::error::Error;

/// Ages are told by the server's clock, so that nobody has to compare clocks. `held_by` is the
/// session that holds the stream's lock, whatever the owner column says.
const STREAMS: &str = "
    select jsonb_build_object(
        'stream', o.stream, 'shard', o.shard, 'writers', o.writers, 'epoch', o.epoch,
        'position', o.position, 'high_water', o.high_water, 'highest', o.highest,
        'resume_token', o.resume_token,
        'mirrored', o.mirrored, 'previously_mirrored', o.previously_mirrored,
        'owner', o.owner, 'held', held.pid is not null, 'held_by', held.pid, 'fence', o.fence,
        'last_heard_at', o.last_heard_at,
        'last_heard_seconds', floor(extract(epoch from now() - o.last_heard_at)),
        'updated_at', o.updated_at,
        'epochs', (select count(*) from sse_stream.epochs e
                   where e.stream = o.stream and e.shard = o.shard),
        'dead_letters', letters.open, 'dead_letter_reasons', letters.reasons,
        'open_gaps', gaps.open, 'reconnect_gaps', gaps.reconnects,
        'missed_offsets', gaps.missed, 'gaps', gaps.latest,
        'waiting', waiting.events, 'waiting_seconds', waiting.seconds,
        'last_runs', runs.latest
    )::text
    from sse_stream.streams o
    left join lateral (
        -- A key of 64 bits stands in two halves.
        select l.pid from pg_locks l
        where l.locktype = 'advisory' and l.granted and l.objsubid = 1
          and l.database = (select d.oid from pg_database d where d.datname = current_database())
          and (l.classid::bigint << 32 | l.objid::bigint)
            = hashtextextended(format('sse_stream/%s/%s', o.stream, o.shard), 0)
        limit 1) held on true
    cross join lateral (
        select coalesce(sum(r.count), 0) as open,
               coalesce(jsonb_agg(to_jsonb(r) order by r.count desc, r.reason_code), '[]') as reasons
        from (select d.reason_code, count(*) as count,
                     floor(extract(epoch from now() - min(d.created_at))) as oldest_seconds
              from sse_stream.dead_letters d
              where d.stream = o.stream and d.shard = o.shard and d.state = 'open'
              group by d.reason_code) r) letters
    cross join lateral (
        -- Where a source sends nothing again, each connection is a gap that nothing can mend.
        select count(*) filter (where g.noticed_by <> 'reconnect') as open,
               count(*) filter (where g.noticed_by = 'reconnect') as reconnects,
               coalesce(sum(g.last_missed - g.first_missed + 1)
                            filter (where g.noticed_by <> 'reconnect'), 0) as missed,
               coalesce(jsonb_agg(to_jsonb(g) order by g.noticed_at desc)
                            filter (where g.place <= 5), '[]') as latest
        from (select epoch, first_missed, last_missed, noticed_by, noticed_at,
                     row_number() over (order by noticed_at desc, gap_id desc) as place
              from sse_stream.gaps
              where stream = o.stream and shard = o.shard and repaired_at is null) g) gaps
    cross join lateral (
        select count(*) as events, floor(extract(epoch from now() - min(w.first_seen_at))) as seconds
        from sse_stream.waiting w
        where w.stream = o.stream and w.shard = o.shard) waiting
    cross join lateral (
        select coalesce(jsonb_agg(to_jsonb(r) order by r.started_at desc, r.id desc), '[]') as latest
        from (select id, dag_id, task_id, run_id, map_index, try_number, log_url,
                     started_at, ended_at,
                     floor(extract(epoch from now() - started_at)) as started_seconds,
                     round(extract(epoch from ended_at - started_at), 1) as ran_seconds,
                     events, rows, duplicates, dead_letters, bytes,
                     first_offset, last_offset, epoch, stop_reason, error,
                     case when ended_at is not null then
                              case when error is not null then 'failed'
                                   when stop_reason = 'lost' then 'lost' else 'ended' end
                          -- Only the newest open one can run, and only while somebody holds the lock.
                          when held.pid is not null
                               and row_number() over (partition by ended_at is null
                                                      order by started_at desc, id desc) = 1
                              then 'running'
                          else 'lost' end as state
              from sse_stream.runs
              where stream = o.stream and shard = o.shard
              order by started_at desc, id desc limit 5) r) runs
    where $1::text is null or o.stream = $1
    order by o.stream, o.shard";
const MIGRATIONS: &str = "
    select coalesce(jsonb_object_agg(owner, version), '{}'::jsonb)::text
    from (select owner, max(version) as version from sse_stream.migrations group by owner) m";

/// Everything the books tell of the streams (all of them for `None`): offset, owner, lock, last
/// runs, open dead letters and gaps, what waits; and the newest migration per owner.
pub async fn status(database: &DatabaseConfig, stream: Option<&str>) -> Result<Value, Error> {
    let session = database.connect().await?;
    let streams = streams(&session.client, stream).await?;
    let migrations = session
        .client
        .query_one(MIGRATIONS, &[])
        .await
        .map_err(|error| Error::database(DOING, error))?;
    Ok(json!({ "streams": streams, "migrations": parse(migrations.get(0)) }))
}

const DOING: &str = "cannot read the books in schema sse_stream";

/// One object per stream and shard.
pub(crate) async fn streams(client: &Client, stream: Option<&str>) -> Result<Vec<Value>, Error> {
    let rows =
        client.query(STREAMS, &[&stream]).await.map_err(|error| Error::database(DOING, error))?;
    Ok(rows.iter().map(|row| parse(row.get(0))).collect())
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
