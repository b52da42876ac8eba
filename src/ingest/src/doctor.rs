//! Compares what should agree: the migrations with the database, the offset row with the mirror,
//! the tables and the history. Reads only; each disagreement has a stable code and its numbers,
//! the words and the repair belong to the caller.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::catalog::{Catalog, Route, Source};
use crate::connect::DatabaseConfig;
use crate::encode::Kind;
use crate::error::{Error, ErrorKind};
use crate::land::statements::{ident, qualified};
use crate::migrate::{self, Migration};
use crate::mirror::{self, Start};
use crate::offsets::Offset;
use crate::preset::{Offsets, Preset};
use crate::status;

/// What a doctor is asked to look at.
pub struct Examination {
    pub preset: Preset,
    /// The name under which the offset is kept; `None` takes the preset's.
    pub stream: Option<String>,
    pub shard: i32,
    /// Whether other streams fill the same tables, as the parts of one stream do: their rows then
    /// tell nothing of this one's offset.
    pub shares_tables: bool,
    /// The preset's migrations; their owner is the preset's stream.
    pub migrations: Vec<Migration>,
    /// The text of the offset mirror; `None` where it is not set or not known.
    pub mirror: Option<String>,
    /// What may remain before it is a finding.
    pub tolerance: Tolerance,
}

/// What may remain before it is a finding.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Open dead letters.
    pub dead_letters: u64,
    /// Age of the oldest event that waits for its parent.
    pub waiting_seconds: u64,
    /// Time since the source was last heard.
    pub silence_seconds: u64,
}

const ROLE: &str = "select current_user::text";
const SNAPSHOT: &str = "begin isolation level repeatable read read only";
/// What the engine needs and its login has not: object and right. Works without any right at all.
const RIGHTS: &str = "
    select 'schema sse_stream', 'usage' from pg_namespace n
    where n.nspname = 'sse_stream' and not has_schema_privilege(n.oid, 'usage')
    union all
    select 'database ' || d.datname, 'temporary' from pg_database d
    where d.datname = current_database() and not has_database_privilege(d.oid, 'temporary')
    union all
    select 'table sse_stream.' || c.relname, r.name
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    cross join unnest(case c.relname
        when 'migrations' then array['select']
        when 'waiting' then array['select', 'insert', 'update', 'delete']
        else array['select', 'insert', 'update'] end) r (name)
    where n.nspname = 'sse_stream' and c.relkind = 'r'
      and c.relname in ('migrations', 'offsets', 'epochs', 'gaps', 'dead_letters', 'waiting', 'runs')
      and not has_table_privilege(c.oid, r.name)
    order by 1, 2";
const MIGRATED: &str = "
    select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                   where n.nspname = 'sse_stream' and c.relname = 'migrations')";
/// The highest offset below or at the position whose fate is in the books although it has no row.
const ACCOUNTED: &str = "
    select greatest(
        (select max(event_offset) from sse_stream.dead_letters
         where stream = $1 and shard = $2 and epoch = $3 and event_offset <= $4),
        (select max(event_offset) from sse_stream.waiting
         where stream = $1 and shard = $2 and epoch = $3 and event_offset <= $4),
        (select max(last_missed) from sse_stream.gaps
         where stream = $1 and shard = $2 and epoch = $3 and last_missed <= $4))";

/// Findings as `{"code": ..., more by code}`, the role that looked, and the stream's status.
///
/// Errors are those of looking: what is wrong with the stream is a finding.
pub async fn doctor(database: &DatabaseConfig, asked: &Examination) -> Result<Value, Error> {
    let session = database.connect().await?;
    let client = &session.client;
    let stream = asked.stream.as_deref().unwrap_or(&asked.preset.stream.name);
    let mut findings = Vec::new();
    // First, because a refusal below ends the transaction, whose one snapshot lets books and tables
    // be compared while a run goes on. Nobody has to end it: the session goes with it.
    let role: String = client.query_one(ROLE, &[]).await.map_err(failed)?.get(0);
    client.batch_execute(SNAPSHOT).await.map_err(failed)?;
    let row = examine(client, asked, stream, &mut findings).await?;
    Ok(json!({ "stream": stream, "role": role, "findings": findings, "status": row }))
}

/// Looks as deep as rights and migrations allow; returns the stream's status, if it has any.
async fn examine(
    client: &Client,
    asked: &Examination,
    stream: &str,
    findings: &mut Vec<Value>,
) -> Result<Option<Value>, Error> {
    if !client.query_one(MIGRATED, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        findings.push(json!({ "code": "not_migrated" }));
        return Ok(None);
    }
    let lacking = client.query(RIGHTS, &[]).await.map_err(failed)?;
    let blind = lacking.iter().any(|row| matches!(row.get(1), "usage" | "select"));
    findings.extend(lacking.iter().map(|row| {
        json!({ "code": "right_missing",
                "object": row.get::<_, String>(0), "right": row.get::<_, String>(1) })
    }));
    if blind {
        return Ok(None);
    }
    let owner = asked.preset.stream.name.as_str();
    let (found, books_are_current) = migrations(client, owner, &asked.migrations).await?;
    findings.extend(found);
    if !books_are_current {
        return Ok(None);
    }
    let rows = status::streams(client, Some(stream)).await?;
    let row = rows.into_iter().find(|row| row["shard"] == asked.shard);
    let offset = row.as_ref().map(offset_of);
    let counted = asked.preset.stream.ids.are_counted();
    findings.extend(mirror_findings(offset.as_ref(), asked.mirror.as_deref(), counted));
    if let Some(row) = &row {
        findings.extend(book_findings(row, &asked.tolerance));
    }
    match Catalog::read(client, &asked.preset, |_| false).await {
        Ok(_) if asked.shares_tables => {}
        Ok(catalog) => {
            let heads = heads(client, &catalog, &asked.preset, offset.as_ref()).await?;
            findings.extend(table_findings(offset.as_ref(), &heads, &catalog));
            if let (Some(offset), Some(raw)) = (&offset, heads.iter().find(|head| head.takes_all)) {
                let lost = rows_below(client, asked, stream, offset, raw).await?;
                findings.extend(lost);
            }
        }
        Err(error) if error.kind() == ErrorKind::Schema => {
            findings.push(json!({ "code": "table_unusable", "message": error.to_string() }));
        }
        Err(error) => return Err(error),
    }
    if row.is_none() {
        findings.push(json!({ "code": "offset_missing" }));
    }
    Ok(row)
}

fn failed(error: tokio_postgres::Error) -> Error {
    Error::database("cannot read the database's catalog", error)
}

/// The migrations that disagree, and whether the engine's own are all there.
async fn migrations(
    client: &Client,
    owner: &str,
    known: &[Migration],
) -> Result<(Vec<Value>, bool), Error> {
    let mut found = Vec::new();
    let mut complete = true;
    for (owner, standing) in [
        (migrate::OWN, migrate::compare(client, migrate::OWN, &migrate::own_migrations()).await?),
        (owner, migrate::compare(client, owner, known).await?),
    ] {
        complete &= owner != migrate::OWN || standing.pending.is_empty();
        for (code, versions) in [
            ("migration_pending", standing.pending),
            ("migration_changed", standing.changed),
            ("migration_unknown", standing.unknown),
        ] {
            if !versions.is_empty() {
                found.push(json!({ "code": code, "owner": owner, "versions": versions }));
            }
        }
    }
    Ok((found, complete))
}

fn offset_of(row: &Value) -> Offset {
    Offset {
        epoch: row["epoch"].as_str().map(str::to_owned),
        position: row["position"].as_i64().unwrap_or_default(),
        high_water: row["high_water"].as_i64().unwrap_or_default(),
        highest: row["highest"].as_i64().unwrap_or_default(),
        mirrored: row["mirrored"].as_i64(),
        previously_mirrored: row["previously_mirrored"].as_i64(),
        resume_token: row["resume_token"].as_str().map(str::to_owned),
    }
}

/// What the next run would make of the mirror, by the rule that it will follow.
fn mirror_findings(offset: Option<&Offset>, text: Option<&str>, counted: bool) -> Option<Value> {
    let text = text?;
    let Some(asked) = mirror::number(text) else {
        return Some(json!({ "code": "mirror_not_a_number", "mirror": text }));
    };
    // The books know it too, should the wrong preset be looked at.
    let counted = counted || offset.is_some_and(|offset| offset.resume_token.is_some());
    let decide = match counted {
        true => mirror::decide_counted,
        false => mirror::decide,
    };
    match decide(offset, Some(text)) {
        Ok(Start::Seek { from, to }) => {
            Some(json!({ "code": "rewind_pending", "from": from, "to": to }))
        }
        Ok(_) => None,
        Err(_) if counted => Some(json!({ "code": "mirror_counted", "mirror": asked })),
        Err(_) => Some(json!({ "code": "mirror_beyond", "mirror": asked,
                               "high_water": offset.map(|offset| offset.high_water) })),
    }
}

fn book_findings(row: &Value, tolerance: &Tolerance) -> Vec<Value> {
    let mut found = Vec::new();
    let number = |name: &str| row[name].as_u64().unwrap_or_default();
    let lost = row["last_runs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|run| run["state"] == "lost" && run["ended_at"].is_null());
    found.extend(lost.map(|run| {
        json!({ "code": "run_lost", "dag_id": run["dag_id"], "task_id": run["task_id"],
                "run_id": run["run_id"], "try_number": run["try_number"],
                "log_url": run["log_url"], "started_at": run["started_at"] })
    }));
    if number("open_gaps") > 0 {
        found.push(json!({ "code": "gaps_open", "gaps": row["open_gaps"],
                           "offsets": row["missed_offsets"], "newest": row["gaps"][0],
                           "counted": !row["resume_token"].is_null() }));
    }
    if number("dead_letters") > tolerance.dead_letters {
        found.push(json!({ "code": "dead_letters_open", "count": row["dead_letters"],
                           "tolerated": tolerance.dead_letters,
                           "reasons": row["dead_letter_reasons"] }));
    }
    if number("waiting_seconds") > tolerance.waiting_seconds {
        found.push(json!({ "code": "waiting_too_long", "events": row["waiting"],
                           "seconds": row["waiting_seconds"] }));
    }
    if number("last_heard_seconds") > tolerance.silence_seconds {
        found.push(json!({ "code": "silent", "seconds": row["last_heard_seconds"] }));
    }
    found
}

/// The highest offset that a table holds, in the present epoch where it tells epochs apart.
struct Head {
    table: String,
    highest: Option<i64>,
    /// Whether every event has a row there.
    takes_all: bool,
}

/// One head per table that keeps the offsets of its rows.
async fn heads(
    client: &Client,
    catalog: &Catalog,
    preset: &Preset,
    offset: Option<&Offset>,
) -> Result<Vec<Head>, Error> {
    let mut heads: Vec<Head> = Vec::new();
    for route in &catalog.routes {
        let column = |source: Source| route.columns.iter().find(|column| column.source == source);
        let Some(id) = column(Source::Id) else { continue };
        let whole =
            id.target.is_plain() && matches!(id.target.kind, Kind::Int2 | Kind::Int4 | Kind::Int8);
        let epoch = column(Source::Epoch);
        // Offsets that begin anew and are not told apart cannot be compared.
        let comparable = whole && (epoch.is_some() || preset.stream.epoch_header.is_none());
        if !comparable || heads.iter().any(|head| head.table == route.table) {
            continue;
        }
        let highest =
            head(client, route, &id.name, epoch.map(|it| it.name.as_str()), offset).await?;
        let takes_all = route.event == "*";
        heads.push(Head { table: route.table.clone(), highest, takes_all });
    }
    Ok(heads)
}

async fn head(
    client: &Client,
    route: &Route,
    id: &str,
    epoch: Option<&str>,
    offset: Option<&Offset>,
) -> Result<Option<i64>, Error> {
    let doing = format!("cannot read the highest offset in {}", route.table);
    let mut sql = format!("select max({})::bigint from {}", ident(id), qualified(&route.table));
    let present = offset.and_then(|offset| offset.epoch.as_deref());
    let row = match (epoch, present) {
        (Some(column), Some(present)) => {
            sql.push_str(&format!(" where {} = $1", ident(column)));
            client.query_one(&sql, &[&present]).await
        }
        _ => client.query_one(&sql, &[]).await,
    };
    Ok(row.map_err(|error| Error::database(&doing, error))?.get(0))
}

/// Rows of events that the offset says are still to come. Not those of writers that were ahead of
/// others when their run was killed.
fn table_findings(offset: Option<&Offset>, heads: &[Head], catalog: &Catalog) -> Vec<Value> {
    let Offset { position, high_water, highest, .. } = offset.cloned().unwrap_or_default();
    let keyless = catalog.routes.iter().find(|route| route.key_len == 0);
    let told_to_come_again = if position < high_water { position } else { highest.max(position) };
    heads
        .iter()
        .filter(|head| head.highest.is_some_and(|highest| highest > told_to_come_again))
        .map(|head| {
            // Beyond the high water, rows without a key would come twice.
            let unprotected = keyless.filter(|_| head.highest.is_some_and(|it| it > high_water));
            json!({ "code": "rows_above_offset", "table": head.table, "highest": head.highest,
                    "position": position, "unprotected": unprotected.map(|it| &it.table) })
        })
        .collect()
}

/// A table for every event that ends below the offset: rows were taken out, or an older copy of
/// the table stands beside a newer offset. Told only where each offset is an event.
async fn rows_below(
    client: &Client,
    asked: &Examination,
    stream: &str,
    offset: &Offset,
    raw: &Head,
) -> Result<Option<Value>, Error> {
    if asked.preset.stream.offsets != Offsets::Dense || raw.highest >= Some(offset.position) {
        return Ok(None);
    }
    let epoch = offset.epoch.as_deref().unwrap_or_default();
    let accounted: Option<i64> = client
        .query_one(ACCOUNTED, &[&stream, &asked.shard, &epoch, &offset.position])
        .await
        .map_err(|error| Error::database("cannot read the books in schema sse_stream", error))?
        .get(0);
    // An offset that nothing was committed for yet stands wherever its first run was told to.
    let explained = raw.highest.max(accounted).unwrap_or(0);
    let missing = offset.high_water > 0 && explained < offset.position;
    Ok(missing.then(|| {
        json!({ "code": "rows_below_offset", "table": raw.table, "highest": raw.highest,
                "position": offset.position })
    }))
}
