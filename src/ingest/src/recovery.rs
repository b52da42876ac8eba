//! A new session after the database broke off in the middle of a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{RunConfig, Stop};
use crate::error::{Error, ErrorKind};
use crate::host::Host;
use crate::settle::read_catalog;
use crate::store::{Footing, Shared, Store};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Connects until it succeeds, `until` passes or `stop` is set, and takes the stream back. The
/// error that remains is the last one, or `OffsetConflict` if another run owns the stream now.
pub(crate) async fn regain(
    config: &RunConfig,
    host: &Arc<dyn Host>,
    stop: &Stop,
    (footing, shared): (Footing, Shared),
    until: Instant,
    mut error: Error,
) -> Result<Store, Error> {
    let start = Instant::now();
    let mut wait = FIRST_WAIT;
    while Instant::now() < until {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.wait() => return Err(error),
        }
        wait = (wait * 2).min(LONGEST_WAIT);
        match reopen(config, host, stop, &footing, &shared).await {
            Ok(Some(store)) => {
                let seconds = start.elapsed().as_secs_f64();
                tracing::info!("the database is back after {seconds:.1} s");
                return Ok(store);
            }
            Ok(None) => return Err(error),
            Err(next) if next.kind() == ErrorKind::Database => error = next,
            Err(next) => return Err(next),
        }
    }
    Err(error)
}

async fn reopen(
    config: &RunConfig,
    host: &Arc<dyn Host>,
    stop: &Stop,
    footing: &Footing,
    shared: &Shared,
) -> Result<Option<Store>, Error> {
    let session = config.database.connect_to_write().await?;
    // The tables may have changed meanwhile.
    let catalog = Arc::new(read_catalog(&session.client, &config.preset, &**host).await?);
    let place = (footing.writer, catalog, shared.clone());
    let mut store = Store::open(session, config, host.clone(), place).await?;
    if footing.writer == 0 && !store.wait_for_lock(config, stop).await? {
        return Ok(None);
    }
    store.retake(footing, &config.run.owner).await?;
    Ok(Some(store))
}
