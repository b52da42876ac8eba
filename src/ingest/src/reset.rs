//! Moving a stream's offset by hand: the same lock and fence as a run, one transaction, and never
//! a silent loss, since what a move forward leaves out is written down as a gap.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::connect::{DatabaseConfig, Session};
use crate::error::{Error, ErrorKind};
use crate::lease;
use crate::mirror;
use crate::offsets::{self, Offset};

/// Where a stream is to go on.
pub struct Reset {
    pub stream: String,
    pub shard: i32,
    /// The last offset that counts as read: the next run starts behind it.
    pub to: i64,
    /// The newest offset of the source and its epoch, where they are known. A move beyond the last
    /// committed offset needs them.
    pub head: Option<i64>,
    pub head_epoch: Option<String>,
    /// The text of the offset mirror, where it is known.
    pub mirror: Option<String>,
    /// Who asks, for the owner column and the history.
    pub by: String,
    /// The fence that a look showed: another one means that somebody moved the stream since.
    pub fence: Option<i64>,
}

const PATIENCE: Duration = Duration::from_secs(1);

const LOOK: &str = "
    select epoch, position, high_water, highest, mirrored, previously_mirrored, resume_token, fence,
           owner
    from sse_stream.streams where stream = $1 and shard = $2";
const KNOWN: &str = "select distinct stream from sse_stream.offsets order by 1 limit 10";
/// A stream that has no mirror keeps none.
const MOVE: &str = "
    update sse_stream.offsets
    set position = $3::bigint, fence = fence + 1, owner = $4, updated_at = now(),
        previously_mirrored = case when writer = 0 then coalesce($5::bigint, mirrored) end,
        mirrored = case when mirrored is null then null else $3::bigint end
    where stream = $1 and shard = $2";
const NOTE_GAP: &str = "
    insert into sse_stream.gaps (stream, shard, epoch, run_id, first_missed, last_missed, noticed_by)
    values ($1, $2, $3, $4, $5, $6, 'reset')
    on conflict (stream, shard, epoch, first_missed, last_missed) do update
    set noticed_by = excluded.noticed_by, noticed_at = now(), run_id = excluded.run_id, repaired_at = null";
const NOTE_RUN: &str = "
    insert into sse_stream.runs
        (stream, shard, task_id, run_id, ended_at, first_offset, last_offset, epoch, stop_reason)
    values ($1, $2, 'reset', $3, now(), $4, $5, $6, 'reset')";

/// What the move would do, without doing it: `from`, `to`, how many offsets come `again`, the `gap`
/// that it leaves (or null), `pending` (the mirror's text, if it asks for something else), and the
/// `fence` to confirm with.
pub async fn plan_reset(database: &DatabaseConfig, asked: &Reset) -> Result<Value, Error> {
    let session = database.connect().await?;
    let (stored, fence, owner) = read(&session.client, asked).await?;
    let plan = Plan::of(&stored, asked)?;
    Ok(plan.as_json(asked, &stored, fence, &owner))
}

/// Moves the offset. `OffsetConflict` while a run holds the stream, or when the stream changed
/// hands since the look at `fence`; `Config` where the offset cannot be meant. Nothing is moved then.
pub async fn reset(database: &DatabaseConfig, asked: &Reset) -> Result<Value, Error> {
    let session = database.connect().await?;
    let client = &session.client;
    if !free_in_time(client, asked).await? {
        let (_, _, owner) = read(client, asked).await?;
        return Err(Error::new(
            ErrorKind::OffsetConflict,
            format!(
                "stream {:?} is held by {owner}; wait for the end of that run or stop it, and pause what would start the next one; nothing was moved",
                asked.stream
            ),
        ));
    }
    client.batch_execute("begin").await.map_err(failed)?;
    let moved = apply(&session, asked).await;
    // An error leaves the transaction to the end of the session, which rolls it back.
    let plan = moved?;
    client.batch_execute("commit").await.map_err(failed)?;
    Ok(plan)
}

/// A run that has just ended gives its lock back a moment later.
async fn free_in_time(client: &Client, asked: &Reset) -> Result<bool, Error> {
    let begun = Instant::now();
    loop {
        if lease::try_lock(client, &asked.stream, asked.shard).await? {
            return Ok(true);
        }
        if begun.elapsed() > PATIENCE {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn apply(session: &Session, asked: &Reset) -> Result<Value, Error> {
    let client = &session.client;
    offsets::lock(client, (&asked.stream, asked.shard)).await?;
    let (stored, fence, owner) = read(client, asked).await?;
    if asked.fence.is_some_and(|seen| seen != fence) {
        return Err(Error::new(
            ErrorKind::OffsetConflict,
            format!(
                "stream {:?} was moved by {owner} since it was shown; look again; nothing was moved",
                asked.stream
            ),
        ));
    }
    let plan = Plan::of(&stored, asked)?;
    let shown = plan.shown;
    client
        .execute(MOVE, &[&asked.stream, &asked.shard, &asked.to, &asked.by, &shown])
        .await
        .map_err(failed)?;
    let gaps = |error| Error::database("cannot write sse_stream.gaps", error);
    let epoch = &plan.epoch;
    if let Some((first, last)) = plan.gap {
        client
            .execute(NOTE_GAP, &[&asked.stream, &asked.shard, epoch, &asked.by, &first, &last])
            .await
            .map_err(gaps)?;
    }
    client
        .execute(
            NOTE_RUN,
            &[&asked.stream, &asked.shard, &asked.by, &stored.position, &asked.to, &stored.epoch],
        )
        .await
        .map_err(|error| Error::database("cannot write sse_stream.runs", error))?;
    Ok(plan.as_json(asked, &stored, fence, &owner))
}

fn failed(error: tokio_postgres::Error) -> Error {
    Error::database("cannot move the offset in sse_stream.offsets", error)
}

async fn read(client: &Client, asked: &Reset) -> Result<(Offset, i64, String), Error> {
    let row = client
        .query_opt(LOOK, &[&asked.stream, &asked.shard])
        .await
        .map_err(|error| Error::database("cannot read sse_stream.offsets", error))?;
    let Some(row) = row else {
        let known = client.query(KNOWN, &[]).await.map_err(failed)?;
        let known: Vec<String> = known.iter().map(|row| row.get(0)).collect();
        return Err(Error::config(format!(
            "stream {:?} has no offset yet, so there is nothing to move; known streams: {}; the first run of a stream starts at its mirror",
            asked.stream,
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        )));
    };
    let owner: Option<String> = row.get(8);
    Ok((Offset::of(&row), row.get(7), owner.unwrap_or_else(|| "another session".into())))
}

/// What a move means.
struct Plan {
    /// Offsets that nobody will have read: first and last.
    gap: Option<(i64, i64)>,
    epoch: String,
    /// What the mirror shows now, if that is our own writing.
    shown: Option<i64>,
    /// What the mirror asks for, if it is not.
    pending: Option<String>,
}

impl Plan {
    fn of(stored: &Offset, asked: &Reset) -> Result<Self, Error> {
        let to = asked.to;
        let refused = |why: String| Err(Error::config(format!("{why}; nothing was moved")));
        if stored.resume_token.is_some() {
            return refused(format!(
                "the ids of stream {:?} are no numbers and its offsets are only counted here, so that the source knows none to go on from",
                asked.stream
            ));
        }
        if to < 0 {
            return refused(format!("offset {to} is below 0"));
        }
        let first = stored.position.max(stored.high_water) + 1;
        let beyond = to >= first;
        if beyond {
            let Some(head) = asked.head else {
                return refused(format!(
                    "offset {to} is beyond the last committed one ({}), and the source's newest is not known; name the source, so that it can be checked",
                    stored.high_water
                ));
            };
            match (&stored.epoch, &asked.head_epoch) {
                (Some(ours), Some(theirs)) if ours != theirs => {
                    return refused(format!(
                        "the source is in epoch {theirs}, the stream in {ours}; let one run begin the new epoch first"
                    ));
                }
                _ => {}
            }
            if to > head {
                return refused(format!("offset {to} is beyond the source's newest ({head})"));
            }
        }
        let ours = mirror::is_ours(stored, asked.mirror.as_deref());
        let epoch = stored.epoch.clone().or_else(|| asked.head_epoch.clone());
        Ok(Self {
            gap: beyond.then_some((first, to)),
            epoch: epoch.unwrap_or_default(),
            shown: asked.mirror.as_deref().filter(|_| ours).and_then(mirror::number),
            pending: asked.mirror.clone().filter(|_| !ours),
        })
    }

    fn as_json(&self, asked: &Reset, stored: &Offset, fence: i64, owner: &str) -> Value {
        json!({
            "stream": asked.stream,
            "shard": asked.shard,
            "epoch": stored.epoch,
            "from": stored.position,
            "to": asked.to,
            "high_water": stored.high_water,
            "again": (stored.position - asked.to).max(0),
            "gap": self.gap.map(|(first, last)| json!({ "first": first, "last": last })),
            "mirrored": stored.mirrored,
            "pending": self.pending,
            "owner": owner,
            "fence": fence,
        })
    }
}
