//! Another attempt at dead letters. A replay holds no stream and moves no offset: it settles
//! letters page by page through a session of its own, beside a live run, and marks each in the
//! transaction that lands it. So a letter lands once, however often it is tried and whatever dies.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, try_join};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

use crate::batch::{Batch, Event, Fate};
use crate::config::{RunIdentity, Stop};
use crate::connect::DatabaseConfig;
use crate::dead_letters::Selection;
use crate::decode::{Decoder, Incoming, Reason};
use crate::error::Error;
use crate::history;
use crate::host::Host;
use crate::land::Past;
use crate::notice;
use crate::preset::Preset;
use crate::settle::{Settler, read_catalog};

/// What to replay, and who asks.
pub struct Replay {
    pub preset: Preset,
    /// The name under which the letters are kept; `None` takes the preset's.
    pub stream: Option<String>,
    pub shard: i32,
    pub selection: Selection,
    /// For the history, the letters (`run_id`) and their `settled_by` (the owner).
    pub run: RunIdentity,
}

/// What a replay did. Everything counted is committed.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    pub letters: u64,
    pub landed: u64,
    /// What they would have brought stood already.
    pub duplicates: u64,
    /// Now wait for their parent.
    pub waiting: u64,
    /// Other events that had waited for these.
    pub resumed: u64,
    /// Dead again.
    pub left: u64,
    /// Not tried, by the reason why.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Why some are dead again, a few of each page.
    pub reasons: BTreeSet<String>,
    pub rows: BTreeMap<String, u64>,
    pub bytes: u64,
    /// Whether a stop was asked for before the end.
    pub stopped: bool,
}

impl Replayed {
    /// Letters that are as dead as before.
    pub fn unsettled(&self) -> u64 {
        self.left + self.skipped.values().sum::<u64>()
    }
}

/// Bounds on one transaction: a live run that meets the same rows waits for its end.
const PAGE_ROWS: i64 = 500;
const PAGE_BYTES: i64 = 4 << 20;
/// How often a page that met a live run in a deadlock is tried.
const ATTEMPTS: u32 = 5;

/// Of another replay's letters we want none; of a letter's state only what stands now.
const TAKE: &str = "
    select dead_letter_id, epoch, event_offset, source_id, coalesce(event_type, ''), reason_code, raw,
           raw_landed, state = 'open' and settled_at is not null,
           (extract(epoch from created_at) * 1000000)::bigint
    from sse_stream.dead_letters
    where dead_letter_id = any($1) and state = any($2)
    order by epoch, event_offset, dead_letter_id
    for update skip locked";
const MARK: &str = "
    update sse_stream.dead_letters
    set state = 'replayed', settled_at = now(), settled_by = $2, attempts = attempts + 1,
        raw_landed = true, run_id = coalesce(nullif($3, ''), run_id)
    where dead_letter_id = any($1)";

/// A dead letter on its second way.
struct Letter {
    id: i64,
    epoch: String,
    offset: Option<i64>,
    source_id: String,
    event_type: String,
    reason_code: String,
    raw: Vec<u8>,
    /// Its rows for `*` stand.
    raw_landed: bool,
    /// It had landed and died again when it was read once more: rows without a key stand.
    landed_before: bool,
    created_at: jiff::Timestamp,
}

/// Tries the selected letters again. Stops between two pages when `stop` is set; an error leaves
/// what earlier pages settled, and the same call goes on from there.
///
/// A replayed event is an old one: an `upsert` route writes its values over newer ones.
pub async fn replay(
    database: &DatabaseConfig,
    asked: &Replay,
    host: Arc<dyn Host>,
    stop: &Stop,
) -> Result<Replayed, Error> {
    let stream = asked.stream.as_deref().unwrap_or(&asked.preset.stream.name);
    let session = database.connect_to_write().await?;
    let client = session.client.clone();
    let key = (stream, asked.shard, asked.run.run_id.as_str());
    // Apart from the run beside it, which may write the same orders.
    let name = format!("{stream}#{}.replay", asked.shard);
    let (catalog, ()) =
        try_join(read_catalog(&client, &asked.preset, &*host), session.name_writer(&name)).await?;
    let catalog = Arc::new(catalog);
    let settler = Settler::prepare(&session, catalog, host.clone(), key, Arc::default()).await?;
    let failed = |error| Error::database("cannot use sse_stream.dead_letters", error);
    let mut work = Work {
        full: Decoder::new(settler.catalog(), None),
        late: Decoder::late(settler.catalog()),
        take: client.prepare(TAKE).await.map_err(failed)?,
        mark: client.prepare(MARK).await.map_err(failed)?,
        client: client.clone(),
        settler,
        host,
        asked,
    };
    let last = asked.selection.last(&client, stream, asked.shard).await?;
    let mut done = Replayed::default();
    let mut after = 0;
    loop {
        if stop.is_set() {
            done.stopped = true;
            break;
        }
        let left = asked.selection.limit.saturating_sub(done.letters).min(PAGE_ROWS as u64) as i64;
        let range = (after, last, left);
        let page = asked.selection.page(&client, stream, asked.shard, range, PAGE_BYTES).await?;
        let Some(end) = page.last() else { break };
        after = *end;
        let page_done = work.page(&page).await?;
        done.add(page_done);
    }
    let line = history::Line {
        events: done.letters,
        rows: done.rows.values().sum(),
        duplicates: done.duplicates,
        dead_letters: done.unsettled(),
        bytes: done.bytes,
        stop_reason: "replay",
    };
    history::note_line(&client, (stream, asked.shard), &asked.run, &line).await?;
    Ok(done)
}

struct Work<'a> {
    client: Arc<Client>,
    settler: Settler,
    host: Arc<dyn Host>,
    full: Decoder,
    late: Decoder,
    take: Statement,
    mark: Statement,
    asked: &'a Replay,
}

impl Work<'_> {
    /// Settles one page in one transaction; begins anew where it met a live run in a deadlock.
    async fn page(&mut self, ids: &[i64]) -> Result<Replayed, Error> {
        let mut attempt = 1;
        loop {
            self.settler.begin().await?;
            self.settler.recount().await?;
            match self.settle(ids).await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    // Where the session is gone, the server has rolled back by itself.
                    let _ = self.client.batch_execute("rollback").await;
                    if attempt == ATTEMPTS || !is_collision(&error) {
                        return Err(error);
                    }
                    tracing::info!("{error}; trying these letters again");
                    tokio::time::sleep(Duration::from_millis(100) * attempt).await;
                    attempt += 1;
                }
            }
        }
    }

    async fn settle(&mut self, ids: &[i64]) -> Result<Replayed, Error> {
        let mut done = Replayed::default();
        let letters = self.letters(ids).await?;
        let alike =
            |a: &Letter, b: &Letter| a.epoch == b.epoch && a.landed_before == b.landed_before;
        for letters in letters.chunk_by(alike) {
            let (mut batch, tried) = self.decode(letters, &mut done);
            // Rows without a key cannot be recognised, so they come with the first landing only.
            let past = match letters.first() {
                Some(letter) if letter.landed_before => Past::Everything,
                _ => Past::Nothing,
            };
            let settled = self.settler.settle(&mut batch, past).await?;
            let landed = |event: &Event| !matches!(event.fate, Fate::Dead(_));
            let marked: Vec<i64> = tried
                .iter()
                .zip(&batch.events)
                .filter(|(_, event)| landed(event))
                .map(|(id, _)| *id)
                .collect();
            let run = &self.asked.run;
            self.client
                .execute(&self.mark, &[&marked, &run.owner, &run.run_id])
                .await
                .map_err(|error| Error::database("cannot mark dead letters", error))?;
            self.settler.committed(&settled);
            let dead = batch.events.iter().filter(|event| !landed(event)).count() as u64;
            done.letters += letters.len() as u64;
            done.left += dead;
            done.duplicates += settled.duplicates;
            done.waiting += settled.waiting;
            done.landed += batch.events.iter().filter(|it| it.fate == Fate::Landed).count() as u64;
            done.resumed += settled.resumed;
            done.bytes += settled.bytes;
            done.reasons.extend(settled.reasons);
            for (table, rows) in settled.rows {
                *done.rows.entry(table).or_default() += rows;
            }
        }
        let stream = self.asked.stream.as_deref().unwrap_or(&self.asked.preset.stream.name);
        let told = notice::tell_of_replay(&self.client, (stream, self.asked.shard), done.landed);
        let (committed, ()) = join(self.client.batch_execute("commit"), told).await;
        committed.map_err(|error| Error::database("cannot commit the replayed letters", error))?;
        Ok(done)
    }

    async fn letters(&self, ids: &[i64]) -> Result<Vec<Letter>, Error> {
        let states = &self.asked.selection.states;
        let rows = self
            .client
            .query(&self.take, &[&ids, states])
            .await
            .map_err(|error| Error::database("cannot read sse_stream.dead_letters", error))?;
        Ok(rows
            .into_iter()
            .map(|row| Letter {
                id: row.get(0),
                epoch: row.get(1),
                offset: row.get(2),
                source_id: row.get(3),
                event_type: row.get(4),
                reason_code: row.get(5),
                raw: row.get(6),
                raw_landed: row.get(7),
                landed_before: row.get(8),
                created_at: jiff::Timestamp::from_microsecond(row.get(9)).unwrap_or_default(),
            })
            .collect())
    }

    /// The letters as a batch, and which ones: some cannot be tried at all.
    fn decode(&mut self, letters: &[Letter], done: &mut Replayed) -> (Batch, Vec<i64>) {
        let mut batch = Batch::new(self.settler.catalog().routes.len());
        let mut tried = Vec::with_capacity(letters.len());
        for letter in letters {
            letter.epoch.clone_into(&mut batch.epoch);
            match self.obstacle(letter) {
                Some(obstacle) => *done.skipped.entry(obstacle).or_default() += 1,
                None => {
                    let fate = self.fate(letter, &mut batch);
                    let id = letter.source_id.as_bytes();
                    batch.push(letter.offset, id, &letter.event_type, &letter.raw, fate);
                    tried.push(letter.id);
                }
            }
        }
        (batch, tried)
    }

    /// Why a letter cannot land, whatever is tried.
    fn obstacle(&self, letter: &Letter) -> Option<&'static str> {
        match letter.reason_code.as_str() {
            _ if letter.offset.is_none() => Some("it has no integer offset to be told by"),
            "too_large" => Some("only the beginning of its bytes was kept"),
            "processor_error" if !self.host.processor(&letter.event_type) => {
                Some("its type has a processor, which was not given to this replay")
            }
            _ => None,
        }
    }

    fn fate(&mut self, letter: &Letter, batch: &mut Batch) -> Fate {
        let dead = |code, text: String| Fate::Dead(Reason::new(code, text));
        let Ok(data) = std::str::from_utf8(&letter.raw) else {
            return dead("invalid_utf8", "the data is not valid UTF-8".into());
        };
        let catalog = self.settler.catalog();
        let event_type = letter.event_type.as_str();
        let known =
            catalog.knows(event_type) || !catalog.has_types() || self.host.processor(event_type);
        if !known {
            return dead("unknown_type", format!("no route names the type {event_type:.100?}"));
        }
        let incoming = Incoming {
            id: letter.offset.unwrap_or_default(),
            sse_id: &letter.source_id,
            event_type,
            data,
            epoch: &letter.epoch,
            received_at: letter.created_at,
        };
        let decoder = if letter.raw_landed { &mut self.late } else { &mut self.full };
        match decoder.decode(&incoming, batch.events.len(), &mut batch.rows) {
            Ok(()) => Fate::Pending,
            Err(reason) => Fate::Dead(reason),
        }
    }
}

impl Replayed {
    fn add(&mut self, page: Self) {
        self.letters += page.letters;
        self.landed += page.landed;
        self.duplicates += page.duplicates;
        self.waiting += page.waiting;
        self.resumed += page.resumed;
        self.left += page.left;
        self.bytes += page.bytes;
        self.reasons.extend(page.reasons);
        for (obstacle, letters) in page.skipped {
            *self.skipped.entry(obstacle).or_default() += letters;
        }
        for (table, rows) in page.rows {
            *self.rows.entry(table).or_default() += rows;
        }
    }
}

/// Whether the database gave our transaction up for another's sake.
fn is_collision(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<tokio_postgres::Error>());
    let code = cause.and_then(tokio_postgres::Error::code);
    code.is_some_and(|code| {
        [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code)
    })
}
