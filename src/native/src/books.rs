//! `migrate` and `status`: what the command line asks of the engine.

use ingest::Migration;
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::door::{self, Surroundings};
use crate::settings;

/// Applies the engine's own migrations, then `migrations` of `owner`; returns what was applied.
#[pyfunction]
pub(crate) fn migrate<'py>(
    py: Python<'py>,
    database: &str,
    owner: String,
    migrations: Vec<(i32, String, String)>,
) -> PyResult<Bound<'py, PyAny>> {
    let database = settings::database(database)?;
    let migrations: Vec<Migration> = migrations
        .into_iter()
        .map(|(version, name, sql)| Migration { version, name, sql })
        .collect();
    let applied = door::call(py, &alone(), move |_| async move {
        ingest::migrate(&database, &owner, &migrations).await
    })?;
    let applied = applied
        .iter()
        .map(|each| json!({"owner": each.owner, "version": each.version, "name": each.name}));
    python(py, &Value::Array(applied.collect()))
}

/// Returns offsets, last runs and dead letters of one stream or of all.
#[pyfunction]
#[pyo3(signature = (database, stream=None))]
pub(crate) fn status<'py>(
    py: Python<'py>,
    database: &str,
    stream: Option<String>,
) -> PyResult<Bound<'py, PyAny>> {
    let database = settings::database(database)?;
    let found = door::call(py, &alone(), move |_| async move {
        ingest::status(&database, stream.as_deref()).await
    })?;
    python(py, &found)
}

/// A call without host and log.
fn alone() -> Surroundings {
    Surroundings { host: None, log: None, log_level: 0, stop: ingest::Stop::default() }
}

/// A JSON value as Python's own objects.
pub(crate) fn python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (value.to_string(),))
}
