//! Dead letters: every event that did not land, with the reason and the bytes to land it later.

use std::collections::HashMap;

use tokio_postgres::{Client, Statement};

use crate::batch::{Batch, Fate};
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
