//! The books beside the offset: runs and epochs, and what is kept of them.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::config::RunIdentity;
use crate::connect::{DatabaseConfig, Param};
use crate::error::Error;
use crate::offsets::Key;
use crate::report::Report;

const NOTE_EPOCH: &str = "
    insert into sse_stream.epochs (stream, shard, epoch) values ($1, $2, $3)
    on conflict (stream, shard, epoch) do nothing";
/// Whoever takes a stream closes the lines of runs that ended without a word (killed, or cut off
/// from the database): only one run holds a stream, so none of them can be running. Should one of
/// them still find its way to its end, it writes that over "lost".
const BEGIN_RUN: &str = "
    with lost as (
        update sse_stream.runs set ended_at = now(), stop_reason = 'lost'
        where stream = $1 and shard = $2 and ended_at is null
    )
    insert into sse_stream.runs
        (stream, shard, dag_id, task_id, run_id, map_index, try_number, log_url)
    values ($1, $2, $3, $4, $5, $6, $7, $8) returning id";
const END_RUN: &str = "
    update sse_stream.runs
    set ended_at = now(), events = $2, rows = $3, duplicates = $4, dead_letters = $5, bytes = $6,
        first_offset = $7, last_offset = $8, epoch = $9, stop_reason = $10, error = $11
    where id = $1";
/// Work that has ended already and held no stream.
const NOTE_LINE: &str = "
    insert into sse_stream.runs
        (stream, shard, dag_id, task_id, run_id, map_index, try_number, log_url, ended_at,
         events, rows, duplicates, dead_letters, bytes, stop_reason)
    values ($1, $2, $3, $4, $5, $6, $7, $8, now(), $9, $10, $11, $12, $13, $14)";
const PRUNE: &str = "select object_name, unit, removed from sse_stream.prune($1, $2)";

/// What [`prune`] removed from one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    pub object_name: String,
    pub unit: String,
    pub removed: i64,
}

/// Removes runs that ended more than `runs_days` ago and dead letters that were settled more than
/// `settled_days` ago. Open dead letters, gaps, epochs and offsets are never removed.
pub async fn prune(
    database: &DatabaseConfig,
    runs_days: i32,
    settled_days: i32,
) -> Result<Vec<Pruned>, Error> {
    for (what, days) in [("runs_days", runs_days), ("settled_days", settled_days)] {
        if !(1..=36_500).contains(&days) {
            return Err(Error::config(format!("{what} is {days}; give a number from 1 to 36500")));
        }
    }
    let session = database.connect().await?;
    let rows =
        session.client.query(PRUNE, &[&runs_days, &settled_days]).await.map_err(|error| {
            Error::database("cannot prune the books in schema sse_stream", error)
        })?;
    Ok(rows
        .iter()
        .map(|row| Pruned { object_name: row.get(0), unit: row.get(1), removed: row.get(2) })
        .collect())
}

/// Opens a line for the run and returns its number.
pub(crate) async fn begin_run(
    client: &Client,
    key: Key<'_>,
    run: &RunIdentity,
) -> Result<i64, Error> {
    let params: [Param<'_>; 8] = [
        (&key.0, Type::TEXT),
        (&key.1, Type::INT4),
        (&run.dag_id, Type::TEXT),
        (&run.task_id, Type::TEXT),
        (&run.run_id, Type::TEXT),
        (&run.map_index, Type::INT4),
        (&run.try_number, Type::INT4),
        (&run.log_url, Type::TEXT),
    ];
    let row = client.query_typed_one(BEGIN_RUN, &params).await;
    Ok(row.map_err(|error| Error::database("cannot write sse_stream.runs", error))?.get(0))
}

/// What a line tells of work beside the runs.
pub(crate) struct Line {
    pub(crate) events: u64,
    pub(crate) rows: u64,
    pub(crate) duplicates: u64,
    pub(crate) dead_letters: u64,
    pub(crate) bytes: u64,
    pub(crate) stop_reason: &'static str,
}

/// Writes a line that is closed from the start.
pub(crate) async fn note_line(
    client: &Client,
    key: Key<'_>,
    run: &RunIdentity,
    line: &Line,
) -> Result<(), Error> {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    client
        .execute(
            NOTE_LINE,
            &[
                &key.0,
                &key.1,
                &run.dag_id,
                &run.task_id,
                &run.run_id,
                &run.map_index,
                &run.try_number,
                &run.log_url,
                &signed(line.events),
                &signed(line.rows),
                &signed(line.duplicates),
                &signed(line.dead_letters),
                &signed(line.bytes),
                &line.stop_reason,
            ],
        )
        .await
        .map_err(|error| Error::database("cannot write sse_stream.runs", error))?;
    Ok(())
}

/// Closes the run's line. A failure here is logged, not raised: the events are committed.
pub(crate) async fn end_run(client: &Client, id: i64, report: &Report, error: Option<&Error>) {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let rows: u64 = report.rows.values().sum();
    let (events, duplicates) = (signed(report.events_processed), signed(report.duplicates));
    let (dead_letters, bytes) = (signed(report.dead_letters), signed(report.bytes));
    let stop_reason = error.is_none().then(|| report.stop_reason.as_str());
    let failure = error.map(ToString::to_string);
    let params: [Param<'_>; 11] = [
        (&id, Type::INT8),
        (&events, Type::INT8),
        (&signed(rows), Type::INT8),
        (&duplicates, Type::INT8),
        (&dead_letters, Type::INT8),
        (&bytes, Type::INT8),
        (&report.first_offset, Type::INT8),
        (&report.last_offset, Type::INT8),
        (&report.epoch, Type::TEXT),
        (&stop_reason, Type::TEXT),
        (&failure, Type::TEXT),
    ];
    let result = client.execute_typed(END_RUN, &params).await;
    if let Err(error) = result {
        tracing::warn!("{}", Error::database("cannot close the run in sse_stream.runs", error));
    }
}

/// Records that the stream is in this epoch.
pub(crate) async fn note_epoch(client: &Client, key: Key<'_>, epoch: &str) -> Result<(), Error> {
    let params: [Param<'_>; 3] = [(&key.0, Type::TEXT), (&key.1, Type::INT4), (&epoch, Type::TEXT)];
    let noted = client.execute_typed(NOTE_EPOCH, &params).await;
    noted.map_err(|error| Error::database("cannot write sse_stream.epochs", error))?;
    Ok(())
}
