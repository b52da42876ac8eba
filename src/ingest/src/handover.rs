//! Taking a stream at the start of a run, and showing where it stands at the end.

use std::sync::Arc;

use crate::config::{RunConfig, Stop};
use crate::error::Error;
use crate::host::Host;
use crate::mirror::{self, Start};
use crate::store::Store;

/// Waits for the stream, decides where to start and takes it. `None` when stopped while waiting.
pub(crate) async fn open(
    config: &RunConfig,
    host: &Arc<dyn Host>,
    stop: &Stop,
) -> Result<Option<Store>, Error> {
    let Some(mut store) = Store::open(config, host.clone(), stop).await? else { return Ok(None) };
    let shown = ask(host, "read the offset mirror", |host| host.read_mirror()).await?;
    let stored = store.stored().await?;
    match mirror::decide(stored.as_ref(), shown.as_deref())? {
        Start::Stored => store.take(&config.run, (0, None)).await?,
        Start::First { position, mirrored } => {
            store.take(&config.run, (position, mirrored)).await?;
        }
        Start::Seek { from, to } => {
            store.take(&config.run, (0, None)).await?;
            store.seek(to).await?;
            tracing::warn!(
                "the offset mirror was changed by hand: moving from offset {from} to {to}"
            );
        }
    }
    let offset = store.offset();
    tracing::info!(
        "stream {:?}: starting after offset {} in epoch {}",
        store.stream(),
        offset.position,
        offset.epoch.as_deref().unwrap_or("(not known yet)")
    );
    Ok(Some(store))
}

/// Writes the position to the mirror, unless a person changed the mirror during the run: that
/// request stays for the next run. Without a mirror nothing is recorded as shown: a mirror that a
/// later run has would look as if a person had changed it.
pub(crate) async fn show(store: &mut Store, host: &Arc<dyn Host>) -> Result<(), Error> {
    if !host.has_mirror() {
        return Ok(());
    }
    let shown = ask(host, "read the offset mirror", |host| host.read_mirror()).await?;
    if !mirror::is_ours(store.offset(), shown.as_deref()) {
        tracing::warn!(
            "the offset mirror was changed by hand to {:?} during this run; the next run will follow it",
            shown.unwrap_or_default()
        );
        return Ok(());
    }
    store.mirror().await?;
    let position = store.offset().position;
    ask(host, "write the offset mirror", move |host| host.write_mirror(position)).await
}

/// Calls a host method from a blocking thread.
async fn ask<T: Send + 'static>(
    host: &Arc<dyn Host>,
    what: &str,
    call: impl FnOnce(&dyn Host) -> Result<T, String> + Send + 'static,
) -> Result<T, Error> {
    let host = host.clone();
    tokio::task::spawn_blocking(move || call(&*host))
        .await
        .map_err(|panic| Error::config(format!("cannot {what}: {panic}")))?
        .map_err(|why| Error::config(format!("cannot {what}: {why}")))
}
