//! One run from its settings to its report: refuses what cannot be, opens what the loop needs, and
//! goes on behind what stopped it for new columns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{RunConfig, Stop, Until};
use crate::error::{Error, ErrorKind};
use crate::grow::{self, Growth};
use crate::handover::open;
use crate::host::Host;
use crate::pipeline::Pipeline;
use crate::preset::{Ids, ResumeClass};
use crate::report::{Report, StopReason};
use crate::seek::seek;

/// How long a stop waits for the commit under way before it gives the connection up. The database
/// then rolls back; either way the stored offset tells what stands.
pub(crate) const STOP_GRACE: Duration = Duration::from_millis(600);

/// Reads the source until a limit, the end of the stream or `stop`, and lands its events.
///
/// Waits for the stream's lock first. Everything that the report counts is committed; on an error,
/// too, the stored offset says exactly what stands, and the next run goes on from there.
pub async fn run(mut config: RunConfig, host: Arc<dyn Host>, stop: Stop) -> Result<Report, Error> {
    check_bounds(&config)?;
    if let Some(raw) = &config.raw_table {
        Box::pin(raw.prepare(&config.database)).await?;
    }
    let limits = config.limits;
    let mut earlier: Option<Report> = None;
    loop {
        let part = run_part(config.clone(), host.clone(), stop.clone());
        let (mut report, grow) = Box::pin(part).await?;
        if let Some(earlier) = earlier.take() {
            report.follow(earlier);
        }
        if grow.is_empty() {
            return Ok(report);
        }
        Box::pin(grow::add_columns(&config.database, &grow)).await?;
        let spent = report.execution_time;
        config.limits.timeout = limits.timeout.map(|timeout| timeout.saturating_sub(spent));
        config.limits.max_events =
            limits.max_events.map(|most| most.saturating_sub(report.events_processed));
        earlier = Some(report);
    }
}

/// A run until its end, or until tables need columns to go on: these are told, too.
async fn run_part(
    config: RunConfig,
    host: Arc<dyn Host>,
    stop: Stop,
) -> Result<(Report, BTreeSet<Growth>), Error> {
    let opened = tokio::select! {
        opened = Box::pin(open(&config, &host, &stop)) => opened?,
        () = overdue(&stop) => None,
    };
    let Some(stores) = opened else {
        return Ok((Report::new(&config), BTreeSet::new()));
    };

    let begins = tokio::select! {
        begins = Box::pin(seek(&config, stores[0].offset())) => begins,
        () = stop.wait() => stores[0].offset().position,
    };
    let mut pipeline = Pipeline::new(config, (stores, begins), host.clone(), stop.clone())?;
    let ended = tokio::select! {
        ended = Box::pin(pipeline.drive()) => ended,
        () = overdue(&stop) => {
            tracing::warn!("stop was asked for and the database did not answer in time; giving the connection up");
            Ok(StopReason::Stopped)
        }
    };
    let grow = std::mem::take(&mut pipeline.grow);
    let ended = match ended {
        Err(error) if error.kind() == ErrorKind::BadEvent && !grow.is_empty() => {
            Ok(StopReason::NewColumns)
        }
        ended => ended,
    };
    let report = Box::pin(pipeline.finish(ended, &host, &stop)).await?;
    Ok((report, grow))
}

/// Refuses bounds that this feed cannot keep.
fn check_bounds(config: &RunConfig) -> Result<(), Error> {
    let (stream, limits) = (&config.preset.stream, &config.limits);
    let timed = limits.from.is_some() || matches!(limits.until, Some(Until::Time(_)));
    let why = if timed && stream.time.is_none() {
        "does not say where the time of an event stands; add time = \"/pointer\" to [stream]"
    } else if limits.from.is_none() {
        return Ok(());
    } else if !matches!(limits.until, Some(Until::Time(_))) {
        "is to be read from a time on without an end; name one"
    } else if stream.class() == ResumeClass::None {
        "is of the resume class none: it gives no window of time again, so that a retry would lose events; read it as a stream"
    } else if matches!(stream.ids, Ids::Text | Ids::Any) && stream.since.is_none() {
        "cannot be asked for a time: add since = { query = \"...\" } to [stream] if the source can"
    } else {
        return Ok(());
    };
    Err(Error::config(format!("preset {:?} {why}", stream.name)))
}

async fn overdue(stop: &Stop) {
    stop.wait().await;
    tokio::time::sleep(STOP_GRACE).await;
}
