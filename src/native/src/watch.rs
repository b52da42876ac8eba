//! `watch` and `look`: waiting for a stream to have something, as an awaitable and as a call.

use std::time::Duration;

use ingest::{Preset, Sight, Watch};
use pyo3::prelude::*;
use pyo3_async_runtimes::generic::future_into_py;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::books::{alone, parse, python};
use crate::settings::{Database, Source, database_config};
use crate::watchers::{Watchers, permits};
use crate::{door, errors};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchSettings {
    source: Source,
    /// TOML text: the stream's conventions.
    #[serde(default)]
    preset: Option<String>,
    /// Whose books say from where to look.
    #[serde(default)]
    books: Option<Books>,
    /// From where to look without books; none is from now on.
    #[serde(default)]
    last_event_id: Option<String>,
    #[serde(default)]
    events: u64,
    #[serde(default)]
    types: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Books {
    database: Database,
    stream: String,
    #[serde(default)]
    shard: i32,
}

/// A wait, ready to begin.
struct Wait {
    watch: Watch,
    books: Option<(ingest::DatabaseConfig, String, i32)>,
}

impl Wait {
    fn parse(config: &str) -> PyResult<Self> {
        let asked: WatchSettings = parse(config)?;
        let mut source = asked.source.into_client()?;
        source.last_event_id = asked.last_event_id.map(String::into_bytes);
        source.max_attempts = None;
        let preset = asked.preset.as_deref().map(Preset::parse).transpose();
        let preset = preset.map_err(|error| errors::exception(&error))?;
        let books = asked.books.map(|books| {
            database_config(&books.database).map(|database| (database, books.stream, books.shard))
        });
        Ok(Self {
            watch: Watch {
                source,
                preset,
                position: None,
                events: asked.events,
                types: asked.types,
            },
            books: books.transpose()?,
        })
    }

    async fn until_seen(mut self) -> Result<Sight, ingest::Error> {
        if let Some((database, stream, shard)) = &self.books {
            // A thousand waits that begin at once are no thousand sessions.
            let _permit = permits().acquire_owned().await;
            self.watch.position = Some(ingest::position(database, stream, *shard).await?);
        }
        ingest::watch(self.watch).await
    }
}

/// Returns an awaitable of what the wait ended with. Cancelling it closes the connection.
#[pyfunction]
pub(crate) fn watch<'py>(py: Python<'py>, config: &str) -> PyResult<Bound<'py, PyAny>> {
    let wait = Wait::parse(config)?;
    Watchers::ready(py)?;
    future_into_py::<Watchers, _, _>(py, async move {
        match Box::pin(wait.until_seen()).await {
            Ok(sight) => Ok(Answer(as_json(&sight))),
            Err(error) => Err(errors::exception(&error)),
        }
    })
}

/// Becomes Python's objects on a thread that may wait for the GIL.
struct Answer(Value);

impl<'py> IntoPyObject<'py> for Answer {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        python(py, &self.0)
    }
}

/// Waits at most so many seconds; None if there was nothing until then.
#[pyfunction]
#[pyo3(signature = (config, *, seconds))]
pub(crate) fn look<'py>(
    py: Python<'py>,
    config: &str,
    seconds: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let wait = Wait::parse(config)?;
    let limit = Duration::try_from_secs_f64(seconds)
        .map_err(|_| errors::config("seconds is not a number of seconds"))?;
    let sight = door::call(py, &alone(), move |_| async move {
        tokio::time::timeout(limit, Box::pin(wait.until_seen())).await.ok().transpose()
    })?;
    python(py, &sight.as_ref().map_or(Value::Null, as_json))
}

fn as_json(sight: &Sight) -> Value {
    json!({
        "seen": sight.seen.as_str(),
        "events": sight.events,
        "last_event_id": String::from_utf8_lossy(&sight.last_event_id),
        "epoch": sight.epoch,
    })
}
