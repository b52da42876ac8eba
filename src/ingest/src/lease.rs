//! The lock that one run holds on a stream. It lives as long as the run's session.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::config::{RunConfig, Stop};
use crate::error::{Error, ErrorKind};

const TRY_LOCK: &str = "select pg_try_advisory_lock(hashtextextended($1, 0))";
const OWNER: &str =
    "select owner from sse_stream.offsets where stream = $1 and shard = $2 and writer = 0";

/// Waits until the stream is free: normal where runs follow each other, an `OffsetConflict` when
/// it lasts beyond the lease. False when `stop` was set meanwhile.
pub(crate) async fn wait_for_lock(
    client: &Client,
    stream: &str,
    config: &RunConfig,
    stop: &Stop,
) -> Result<bool, Error> {
    let failed = |error| Error::database("cannot lock the stream", error);
    let start = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        if try_lock(client, stream, config.shard).await? {
            if told.is_some() {
                tracing::info!(
                    "stream {stream:?} is free after {:.1} s",
                    start.elapsed().as_secs_f64()
                );
            }
            return Ok(true);
        }
        if told.is_none_or(|at| at.elapsed() > Duration::from_secs(30))
            || start.elapsed() > config.lease_timeout
        {
            let owner: Option<String> = client
                .query_opt(OWNER, &[&stream, &config.shard])
                .await
                .map_err(failed)?
                .and_then(|row| row.get(0));
            let owner = owner.unwrap_or_else(|| "another session".into());
            if start.elapsed() > config.lease_timeout {
                return Err(Error::new(
                    ErrorKind::OffsetConflict,
                    format!(
                        "stream {stream:?} is still held by {owner} after {:.0} s; end that run or raise lease_timeout_seconds",
                        config.lease_timeout.as_secs_f64()
                    ),
                ));
            }
            tracing::info!("stream {stream:?} is held by {owner}; waiting to take over");
            told = Some(Instant::now());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            () = stop.wait() => return Ok(false),
        }
    }
}

/// Takes the stream's lock for this session if nobody else holds it.
pub(crate) async fn try_lock(client: &Client, stream: &str, shard: i32) -> Result<bool, Error> {
    let name = format!("sse_stream/{stream}/{shard}");
    let row = client
        .query_typed_one(TRY_LOCK, &[(&name, Type::TEXT)])
        .await
        .map_err(|error| Error::database("cannot lock the stream", error))?;
    Ok(row.get(0))
}
