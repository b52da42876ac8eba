//! Dead letters: every event that did not land, with the reason and the bytes to land it later.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::batch::{Batch, Fate};
use crate::connect::DatabaseConfig;
use crate::error::Error;

pub(crate) const BURY: &str = "
    insert into sse_stream.dead_letters as d
        (stream, shard, epoch, run_id, raw_landed, event_offset, source_id, event_type, reason_code, reason, raw, attempts)
    select $1, $2, $3, nullif($4, ''), $12, u.*
    from unnest($5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bytea[], $11::integer[]) u
    on conflict (stream, shard, epoch, source_id, md5(raw)) do update
    set attempts = d.attempts + excluded.attempts, last_seen_at = now(), run_id = excluded.run_id,
        reason_code = excluded.reason_code, reason = excluded.reason,
        raw_landed = d.raw_landed or excluded.raw_landed,
        -- One that dies when its waiting ends had not landed by an earlier replay.
        settled_at = case when excluded.raw_landed and d.state <> 'discarded' then null
                          else d.settled_at end,
        state = case d.state when 'replayed' then 'open' else d.state end";

/// Where a batch's dead letters are filed.
pub(crate) struct Address<'a> {
    pub(crate) stream: &'a str,
    pub(crate) shard: i32,
    pub(crate) run_id: &'a str,
}

struct Letter<'a> {
    source_id: String,
    offset: Option<i64>,
    event_type: String,
    code: &'static str,
    reason: String,
    raw: &'a [u8],
    attempts: i32,
}

/// Writes the batch's dead letters in the present transaction, by the prepared [`BURY`]. One that
/// was replayed and fails again is open again; one that a person gave up stays so.
pub(crate) async fn bury(
    client: &Client,
    statement: &Statement,
    address: &Address<'_>,
    batch: &Batch,
    raw_landed: bool,
) -> Result<(), Error> {
    let letters = letters(batch);
    if letters.is_empty() {
        return Ok(());
    }
    client
        .execute(
            statement,
            &[
                &address.stream,
                &address.shard,
                &batch.epoch,
                &address.run_id,
                &letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(),
                &letters.iter().map(|letter| letter.source_id.as_str()).collect::<Vec<_>>(),
                &letters.iter().map(|letter| letter.event_type.as_str()).collect::<Vec<_>>(),
                &letters.iter().map(|letter| letter.code).collect::<Vec<_>>(),
                &letters.iter().map(|letter| letter.reason.as_str()).collect::<Vec<_>>(),
                &letters.iter().map(|letter| letter.raw).collect::<Vec<_>>(),
                &letters.iter().map(|letter| letter.attempts).collect::<Vec<_>>(),
                &raw_landed,
            ],
        )
        .await
        .map_err(|error| Error::database("cannot write sse_stream.dead_letters", error))?;
    Ok(())
}

/// One letter per event and content; a repetition within the batch counts as an attempt, because
/// one statement cannot touch the same row twice. Events without an id are told by their bytes.
fn letters(batch: &Batch) -> Vec<Letter<'_>> {
    let mut letters: Vec<Letter<'_>> = Vec::new();
    let mut known: HashMap<(String, &[u8]), usize> = HashMap::new();
    for event in &batch.events {
        let Fate::Dead(reason) = &event.fate else { continue };
        let (source_id, raw) = (clean(&batch.source_id(event)), batch.data(event));
        if let Some(at) = known.get(&(source_id.clone(), raw)) {
            letters[*at].attempts += 1;
            continue;
        }
        known.insert((source_id.clone(), raw), letters.len());
        letters.push(Letter {
            source_id,
            offset: event.id,
            event_type: clean(batch.event_type(event)),
            code: reason.code,
            reason: clean(&reason.text),
            raw,
            attempts: 1,
        });
    }
    letters
}

/// Text as PostgreSQL can store it: without NUL, which a reason may quote.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Which letters of a stream are meant. Empty lists mean all.
#[derive(Clone, Debug)]
pub struct Selection {
    pub ids: Vec<i64>,
    pub reasons: Vec<String>,
    pub event_types: Vec<String>,
    /// `open`, `replayed`, `discarded`.
    pub states: Vec<String>,
    /// Written from then on, and before then, as PostgreSQL reads times.
    pub since: Option<String>,
    pub before: Option<String>,
    pub limit: u64,
}

/// The conditions of a [`Selection`], `$1` to `$8`: stream, shard, ids, reasons, types, states,
/// since, before.
macro_rules! selected {
    () => {
        "stream = $1 and shard = $2
         and (cardinality($3::bigint[]) = 0 or dead_letter_id = any($3))
         and (cardinality($4::text[]) = 0 or reason_code = any($4))
         and (cardinality($5::text[]) = 0 or event_type = any($5))
         and (cardinality($6::text[]) = 0 or state = any($6))
         and ($7::text is null or created_at >= $7::text::timestamptz)
         and ($8::text is null or created_at < $8::text::timestamptz)"
    };
}

const LAST: &str = concat!(
    "select coalesce(max(dead_letter_id), 0) from sse_stream.dead_letters where ",
    selected!()
);
const PAGE: &str = concat!(
    "select dead_letter_id, octet_length(raw) from sse_stream.dead_letters where ",
    selected!(),
    " and dead_letter_id > $9 and dead_letter_id <= $10 order by dead_letter_id limit $11"
);
const GROUPS: &str = concat!(
    "select jsonb_build_object('reason_code', reason_code, 'state', state, 'count', count(*),
            'first', min(created_at), 'last', max(last_seen_at),
            'types', jsonb_agg(distinct event_type),
            'example', min(dead_letter_id))::text
     from sse_stream.dead_letters where ",
    selected!(),
    " group by reason_code, state order by count(*) desc, reason_code, state"
);
const LETTERS: &str = concat!(
    "select jsonb_build_object('id', dead_letter_id, 'epoch', epoch, 'offset', event_offset,
            'type', event_type, 'reason_code', reason_code, 'reason', reason, 'state', state,
            'attempts', attempts, 'bytes', octet_length(raw), 'created_at', created_at)::text
     from sse_stream.dead_letters where ",
    selected!(),
    " order by dead_letter_id desc limit $9"
);
const SHOW: &str = "
    select (to_jsonb(d) - 'raw' || jsonb_build_object('raw', encode(d.raw, 'base64')))::text
    from sse_stream.dead_letters d where dead_letter_id = $1";
const DISCARD: &str = "
    update sse_stream.dead_letters set state = 'discarded', settled_at = now(), settled_by = $3
    where stream = $1 and dead_letter_id = any($2) and state = 'open'
    returning dead_letter_id";

impl Selection {
    /// The newest letter meant: those that come while others are replayed are left alone.
    pub(crate) async fn last(
        &self,
        client: &Client,
        stream: &str,
        shard: i32,
    ) -> Result<i64, Error> {
        let row = client.query_one(LAST, &self.params(&stream, &shard)).await;
        Ok(row.map_err(unreadable)?.get(0))
    }

    /// The next letters behind `after`, at most `limit` and about `max_bytes`, up to `last`.
    pub(crate) async fn page(
        &self,
        client: &Client,
        stream: &str,
        shard: i32,
        (after, last, limit): (i64, i64, i64),
        max_bytes: i64,
    ) -> Result<Vec<i64>, Error> {
        let mut params = self.params(&stream, &shard);
        params.extend::<[&(dyn ToSql + Sync); 3]>([&after, &last, &limit]);
        let rows = client.query(PAGE, &params).await.map_err(unreadable)?;
        let (mut page, mut bytes) = (Vec::with_capacity(rows.len()), 0);
        for row in rows {
            bytes += i64::from(row.get::<_, i32>(1));
            if bytes > max_bytes && !page.is_empty() {
                break;
            }
            page.push(row.get(0));
        }
        Ok(page)
    }

    fn params<'a>(&'a self, stream: &'a &str, shard: &'a i32) -> Vec<&'a (dyn ToSql + Sync)> {
        vec![
            stream,
            shard,
            &self.ids,
            &self.reasons,
            &self.event_types,
            &self.states,
            &self.since,
            &self.before,
        ]
    }
}

fn unreadable(error: tokio_postgres::Error) -> Error {
    Error::database("cannot read sse_stream.dead_letters", error)
}

/// The selected letters: `groups` by reason and state, and the newest `letters`. Their bytes are
/// not among it.
pub async fn list_dead_letters(
    database: &DatabaseConfig,
    stream: &str,
    shard: i32,
    selection: &Selection,
) -> Result<Value, Error> {
    let session = database.connect().await?;
    let client = &session.client;
    let limit = i64::try_from(selection.limit).unwrap_or(i64::MAX);
    let mut params = selection.params(&stream, &shard);
    let groups = client.query(GROUPS, &params).await.map_err(unreadable)?;
    params.push(&limit);
    let letters = client.query(LETTERS, &params).await.map_err(unreadable)?;
    let parsed = |rows: &[Row]| -> Vec<Value> {
        rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap_or_default()).collect()
    };
    Ok(json!({ "groups": parsed(&groups), "letters": parsed(&letters) }))
}

/// One letter with all that is known, its bytes as base64; `None` if there is none.
pub async fn show_dead_letter(database: &DatabaseConfig, id: i64) -> Result<Option<Value>, Error> {
    let session = database.connect().await?;
    let row = session.client.query_opt(SHOW, &[&id]).await.map_err(unreadable)?;
    Ok(row.map(|row| serde_json::from_str(row.get(0)).unwrap_or_default()))
}

/// Gives open letters up, without deleting them; returns which ones.
pub async fn discard_dead_letters(
    database: &DatabaseConfig,
    stream: &str,
    ids: &[i64],
    by: &str,
) -> Result<Vec<i64>, Error> {
    let session = database.connect().await?;
    let rows = session
        .client
        .query(DISCARD, &[&stream, &ids, &by])
        .await
        .map_err(|error| Error::database("cannot write sse_stream.dead_letters", error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
