//! What the command line asks of the engine: migrations, status, doctor, reset, prune.

use ingest::{Examination, Migration, Preset, Reset, Tolerance};
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::door::{self, Surroundings};
use crate::{errors, settings};

/// Applies the engine's own migrations, then `migrations` of `owner`; returns what was applied.
#[pyfunction]
pub(crate) fn migrate<'py>(
    py: Python<'py>,
    database: &str,
    owner: String,
    migrations: Vec<(i32, String, String)>,
) -> PyResult<Bound<'py, PyAny>> {
    let database = settings::database(database)?;
    let migrations = scripts(migrations);
    let applied = door::call(py, &alone(), move |_| async move {
        ingest::migrate(&database, &owner, &migrations).await
    })?;
    let applied = applied
        .iter()
        .map(|each| json!({"owner": each.owner, "version": each.version, "name": each.name}));
    python(py, &Value::Array(applied.collect()))
}

fn scripts(migrations: Vec<(i32, String, String)>) -> Vec<Migration> {
    migrations.into_iter().map(|(version, name, sql)| Migration { version, name, sql }).collect()
}

/// Returns what the books say about one stream or about all.
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

/// Tries a run's preset on a captured stream, without landing anything.
#[pyfunction]
#[pyo3(signature = (config, sample, *, connect))]
pub(crate) fn validate<'py>(
    py: Python<'py>,
    config: &str,
    sample: Vec<u8>,
    connect: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let config = settings::Settings::parse(config)?;
    let found = door::call(py, &alone(), move |_| async move {
        ingest::validate(&config, &sample, connect).await
    })?;
    python(py, &found)
}

/// The statements that create a table for raw events.
#[pyfunction]
pub(crate) fn raw_table_ddl(table: String) -> PyResult<String> {
    let raw = ingest::RawTable { table, create: false };
    raw.ddl().map_err(|error| errors::exception(&error))
}

/// The statements that create tables, from a JSON list of plans.
#[pyfunction]
pub(crate) fn propose_tables(tables: &str) -> PyResult<String> {
    let tables: Vec<ingest::TablePlan> = parse(tables)?;
    ingest::propose(&tables).map_err(|error| errors::exception(&error))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DoctorSettings {
    /// TOML text.
    preset: String,
    migrations: Vec<(i32, String, String)>,
    stream: Option<String>,
    shard: i32,
    shares_tables: bool,
    mirror: Option<String>,
    max_dead_letters: u64,
    max_waiting_seconds: u64,
    max_silence_seconds: u64,
}

/// Compares offset row, mirror, tables and migrations; returns findings by code.
#[pyfunction]
pub(crate) fn doctor<'py>(
    py: Python<'py>,
    database: &str,
    config: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let database = settings::database(database)?;
    let asked: DoctorSettings = parse(config)?;
    let asked = Examination {
        preset: Preset::parse(&asked.preset).map_err(|error| errors::exception(&error))?,
        stream: asked.stream,
        shard: asked.shard,
        shares_tables: asked.shares_tables,
        migrations: scripts(asked.migrations),
        mirror: asked.mirror,
        tolerance: Tolerance {
            dead_letters: asked.max_dead_letters,
            waiting_seconds: asked.max_waiting_seconds,
            silence_seconds: asked.max_silence_seconds,
        },
    };
    let found =
        door::call(py, &alone(), move |_| async move { ingest::doctor(&database, &asked).await })?;
    python(py, &found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetSettings {
    stream: String,
    shard: i32,
    to: i64,
    head: Option<i64>,
    head_epoch: Option<String>,
    mirror: Option<String>,
    by: String,
    fence: Option<i64>,
}

/// Moves a stream's offset, or tells with `dry` what that would mean.
#[pyfunction]
#[pyo3(signature = (database, config, *, dry))]
pub(crate) fn reset<'py>(
    py: Python<'py>,
    database: &str,
    config: &str,
    dry: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let database = settings::database(database)?;
    let ResetSettings { stream, shard, to, head, head_epoch, mirror, by, fence } = parse(config)?;
    let asked = Reset { stream, shard, to, head, head_epoch, mirror, by, fence };
    let plan = door::call(py, &alone(), move |_| async move {
        if dry {
            ingest::plan_reset(&database, &asked).await
        } else {
            ingest::reset(&database, &asked).await
        }
    })?;
    python(py, &plan)
}

/// Removes old run history and old settled dead letters; returns what was removed.
#[pyfunction]
#[pyo3(signature = (database, *, runs_days, settled_days))]
pub(crate) fn prune<'py>(
    py: Python<'py>,
    database: &str,
    runs_days: i32,
    settled_days: i32,
) -> PyResult<Bound<'py, PyAny>> {
    let database = settings::database(database)?;
    let pruned = door::call(py, &alone(), move |_| async move {
        ingest::prune(&database, runs_days, settled_days).await
    })?;
    let pruned = pruned.iter().map(
        |each| json!({"object_name": each.object_name, "unit": each.unit, "removed": each.removed}),
    );
    python(py, &Value::Array(pruned.collect()))
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(config: &'a str) -> PyResult<T> {
    serde_json::from_str(config)
        .map_err(|error| errors::config(format!("the settings are not valid: {error}")))
}

/// A call without host and log.
pub(crate) fn alone() -> Surroundings {
    Surroundings { host: None, log: None, log_level: 0, stop: ingest::Stop::default() }
}

/// A JSON value as Python's own objects.
pub(crate) fn python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (value.to_string(),))
}
