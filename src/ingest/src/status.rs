//! What the books say about a stream, as JSON for people and programs.

use serde_json::{Value, json};

use crate::connect::DatabaseConfig;
use crate::error::Error;

const STREAMS: &str = "
    select jsonb_build_object(
        'stream', o.stream, 'shard', o.shard, 'writer', o.writer, 'epoch', o.epoch,
        'position', o.position, 'high_water', o.high_water, 'mirrored', o.mirrored,
        'owner', o.owner, 'fence', o.fence, 'last_heard_at', o.last_heard_at,
        'updated_at', o.updated_at,
        'dead_letters', (select count(*) from sse_stream.dead_letters d
                         where d.stream = o.stream and d.shard = o.shard),
        'gaps', coalesce((
            select jsonb_agg(to_jsonb(g) order by g.noticed_at desc)
            from (select epoch, first_missed, last_missed, noticed_by, noticed_at, repaired_at
                  from sse_stream.gaps
                  where stream = o.stream and shard = o.shard and repaired_at is null
                  order by noticed_at desc limit 5) g), '[]'::jsonb),
        'last_runs', coalesce((
            select jsonb_agg(to_jsonb(r) order by r.started_at desc)
            from (select id, dag_id, task_id, run_id, try_number, started_at, ended_at, events, rows,
                         duplicates, dead_letters, stop_reason, error
                  from sse_stream.runs
                  where stream = o.stream and shard = o.shard
                  order by started_at desc limit 5) r), '[]'::jsonb)
    )::text
    from sse_stream.offsets o
    where $1::text is null or o.stream = $1
    order by o.stream, o.shard, o.writer";
const MIGRATIONS: &str = "
    select coalesce(jsonb_object_agg(owner, version), '{}'::jsonb)::text
    from (select owner, max(version) as version from sse_stream.migrations group by owner) m";

/// Offsets, owners, last runs and dead letters per stream (all streams for `None`), and the
/// newest migration per owner.
pub async fn status(database: &DatabaseConfig, stream: Option<&str>) -> Result<Value, Error> {
    let session = database.connect().await?;
    let doing = "cannot read the books in schema sse_stream";
    let streams = session
        .client
        .query(STREAMS, &[&stream])
        .await
        .map_err(|error| Error::database(doing, error))?;
    let migrations = session
        .client
        .query_one(MIGRATIONS, &[])
        .await
        .map_err(|error| Error::database(doing, error))?;
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    Ok(json!({
        "streams": streams.iter().map(|row| parse(row.get(0))).collect::<Vec<_>>(),
        "migrations": parse(migrations.get(0)),
    }))
}
