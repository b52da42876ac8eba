//! Dead letters: list, show, replay, discard.

use std::collections::HashSet;
use std::sync::Arc;

use ingest::{Preset, Replay, Replayed, RunIdentity, Selection};
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::books::{alone, parse, python};
use crate::door::{self, Surroundings};
use crate::errors;
use crate::host::Bridge;
use crate::run::StopFlag;
use crate::settings::{self, Identity};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    #[serde(default)]
    shard: i32,
    #[serde(default)]
    ids: Vec<i64>,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    event_types: Vec<String>,
    states: Vec<String>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    before: Option<String>,
    limit: u64,
}

impl From<Chosen> for Selection {
    fn from(chosen: Chosen) -> Self {
        let Chosen { shard: _, ids, reasons, event_types, states, since, before, limit } = chosen;
        Self { ids, reasons, event_types, states, since, before, limit }
    }
}

/// Returns the selected letters, in groups and one by one, without their bytes.
#[pyfunction]
pub(crate) fn list_dead_letters<'py>(
    py: Python<'py>,
    database: &str,
    stream: String,
    selection: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let database = settings::database(database)?;
    let chosen: Chosen = parse(selection)?;
    let shard = chosen.shard;
    let selection = Selection::from(chosen);
    let found = door::call(py, &alone(), move |_| async move {
        ingest::list_dead_letters(&database, &stream, shard, &selection).await
    })?;
    python(py, &found)
}

/// Returns one letter with its bytes as base64, or None.
#[pyfunction]
pub(crate) fn show_dead_letter<'py>(
    py: Python<'py>,
    database: &str,
    letter_id: i64,
) -> PyResult<Bound<'py, PyAny>> {
    let database = settings::database(database)?;
    let found = door::call(py, &alone(), move |_| async move {
        ingest::show_dead_letter(&database, letter_id).await
    })?;
    python(py, &found.unwrap_or(Value::Null))
}

/// Gives open letters up; returns the ids of those that were open.
#[pyfunction]
#[pyo3(signature = (database, stream, ids, *, by))]
pub(crate) fn discard_dead_letters(
    py: Python<'_>,
    database: &str,
    stream: String,
    ids: Vec<i64>,
    by: String,
) -> PyResult<Vec<i64>> {
    let database = settings::database(database)?;
    door::call(py, &alone(), move |_| async move {
        ingest::discard_dead_letters(&database, &stream, &ids, &by).await
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaySettings {
    /// TOML text.
    preset: String,
    stream: Option<String>,
    selection: Chosen,
    run: Identity,
}

/// Tries dead letters again and returns what became of them.
#[pyfunction]
#[pyo3(signature = (database, config, *, host=None, processors=Vec::new(), log=None, log_level=20, stop=None))]
#[allow(clippy::too_many_arguments)] // keyword arguments, in Python
pub(crate) fn replay_dead_letters<'py>(
    py: Python<'py>,
    database: &str,
    config: &str,
    host: Option<Py<PyAny>>,
    processors: Vec<String>,
    log: Option<Py<PyAny>>,
    log_level: u8,
    stop: Option<&Bound<'py, StopFlag>>,
) -> PyResult<Bound<'py, PyAny>> {
    let database = settings::database(database)?;
    let asked: ReplaySettings = parse(config)?;
    let asked = Replay {
        preset: Preset::parse(&asked.preset).map_err(|error| errors::exception(&error))?,
        stream: asked.stream,
        shard: asked.selection.shard,
        selection: asked.selection.into(),
        run: RunIdentity::from(asked.run),
    };
    let stop = stop.map(|flag| flag.get().flag()).unwrap_or_default();
    let processors: HashSet<String> = processors.into_iter().collect();
    let surroundings = Surroundings { host, log, log_level, stop: stop.clone() };
    let done = door::call(py, &surroundings, move |messages| async move {
        let host = Arc::new(Bridge { messages, processors, has_mirror: false });
        ingest::replay(&database, &asked, host, &stop).await
    })?;
    python(py, &as_json(&done))
}

fn as_json(done: &Replayed) -> Value {
    json!({
        "letters": done.letters,
        "landed": done.landed,
        "duplicates": done.duplicates,
        "waiting": done.waiting,
        "resumed": done.resumed,
        "left": done.left,
        "skipped": done.skipped,
        "unsettled": done.unsettled(),
        "reasons": done.reasons,
        "rows": done.rows,
        "stopped": done.stopped,
    })
}
