//! Taking a stream at the start of a run, and showing where it stands at the end.

use std::sync::Arc;

use futures_util::future::{try_join, try_join_all};

use crate::catalog::{Catalog, Route, Source};
use crate::config::{BadEvents, RunConfig, Stop};
use crate::error::Error;
use crate::host::Host;
use crate::mirror::{self, Start};
use crate::preset::{Ids, Mode, ResumeClass, StreamSpec};
use crate::settle::read_catalog;
use crate::store::{Shared, Store};

/// Waits for the stream, decides where to start and takes it, for all writers that the run can
/// have. `None` when stopped while waiting.
pub(crate) async fn open(
    config: &RunConfig,
    host: &Arc<dyn Host>,
    stop: &Stop,
) -> Result<Option<Vec<Store>>, Error> {
    // All at once, as far as is known before the tables are; a run that cannot have all its sessions
    // has not begun.
    let most = if config.preset.stream.split.is_some() { config.writers.max(1) } else { 1 };
    let mut sessions = try_join_all((0..most).map(|_| config.database.connect_to_write())).await?;
    let catalog = read_catalog(&sessions[0].client, &config.preset, &**host).await?;
    let writers = writers(config, &catalog, &**host);
    sessions.truncate(writers as usize);
    let (catalog, shared) = (Arc::new(catalog), Shared::default());
    let stores = (0..).zip(sessions).map(|(writer, session)| {
        let place = (writer, catalog.clone(), shared.clone());
        Store::open(session, config, host.clone(), place)
    });
    let mut stores = try_join_all(stores).await?;
    let (store, others) = stores.split_at_mut(1);
    let store = &mut store[0];
    // Ready before it waits: the stream goes on as soon as the run before has ended.
    if !store.wait_for_lock(config, stop).await? {
        return Ok(None);
    }
    let shown = ask(host, "read the offset mirror", |host| host.read_mirror());
    let (shown, stored) = try_join(shown, store.stored()).await?;
    let stream = &config.preset.stream;
    let decide = match stream.ids.are_counted() {
        true => mirror::decide_counted,
        false => mirror::decide,
    };
    let start = decide(stored.as_ref(), shown.as_deref())?;
    store.take(&config.run, writers, &start).await?;
    if let Start::Seek { from, to } = start {
        tracing::warn!("the offset mirror was changed by hand: moving from offset {from} to {to}");
    }
    let offset = store.offset();
    // Empty where the source names none.
    let epoch = offset.epoch.as_deref().filter(|epoch| !epoch.is_empty());
    tracing::info!(
        "stream {:?}: starting after offset {}{}",
        store.stream(),
        offset.position,
        epoch.map(|epoch| format!(" in epoch {epoch}")).unwrap_or_default()
    );
    tell_guarantee(stream);
    for other in others {
        let (_, fence) = store.fence();
        other.stand(store.offset().clone(), fence);
    }
    Ok(Some(stores))
}

/// Says what can be promised, once for each run.
fn tell_guarantee(stream: &StreamSpec) {
    let class = stream.class();
    match stream.ids {
        Ids::Any => tracing::info!(
            "resume class not known: {} where events have ids, else {}",
            class.guarantee(),
            ResumeClass::None.guarantee()
        ),
        _ => tracing::info!("resume class {}: {}", class.as_str(), class.guarantee()),
    }
}

/// How many sessions may write the stream at once. Where events depend on each other beyond what
/// they are split by, it is one, and the log says why.
fn writers(config: &RunConfig, catalog: &Catalog, host: &dyn Host) -> i32 {
    let asked = i32::try_from(config.writers.max(1)).unwrap_or(i32::MAX);
    if asked == 1 {
        return 1;
    }
    let split = config.preset.stream.split.as_ref();
    let scattered = |route: &&Route| match route.mode {
        Mode::Append => true,
        // Of two that write the same row the last one wins, or the first: they must come in order.
        Mode::Upsert | Mode::Update => !route.columns[..route.key_len]
            .iter()
            .any(|column| matches!(&column.source, Source::Pointer(at) if Some(at) == split)),
        Mode::Insert => false,
    };
    let why = match catalog.routes.iter().find(scattered) {
        _ if config.preset.stream.ids.are_counted() => {
            "its ids are no numbers, so events are numbered in the order in which they come"
                .to_owned()
        }
        _ if split.is_none() => "the preset does not say by what to split events".to_owned(),
        Some(route) if route.mode == Mode::Append => {
            format!("the route to {} has no key", route.table)
        }
        Some(route) => format!("the rows of {} must come in order", route.table),
        None if host.has_processors() => "events have processors".to_owned(),
        None if config.bad_events == BadEvents::Fail
            || catalog.routes.iter().any(|route| route.drift.may_fail) =>
        {
            "nothing is to land behind a bad event".to_owned()
        }
        None => return asked,
    };
    tracing::info!("one writer instead of {asked}: {why}");
    1
}

/// Writes the position to the mirror, unless a person changed the mirror during the run: that
/// request stays for the next run. Without a mirror nothing is recorded as shown: a mirror that a
/// later run has would look as if a person had changed it.
pub(crate) async fn show(
    store: &mut Store,
    position: i64,
    host: &Arc<dyn Host>,
) -> Result<(), Error> {
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
    store.mirror(position).await?;
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
