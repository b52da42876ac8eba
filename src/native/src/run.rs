//! `run`: one run of the engine.

use std::collections::HashSet;
use std::sync::Arc;

use ingest::{Report, Stop};
use pyo3::prelude::*;
use serde_json::json;

use crate::books::python;
use crate::door::{self, Surroundings};
use crate::host::Bridge;
use crate::settings::Settings;

/// Asks a run to end at the next committed offset.
#[pyclass(frozen, module = "sse_stream._native")]
#[derive(Default)]
pub(crate) struct StopFlag(Stop);

impl StopFlag {
    pub(crate) fn flag(&self) -> Stop {
        self.0.clone()
    }
}

#[pymethods]
impl StopFlag {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn set(&self) {
        self.0.set();
    }

    fn is_set(&self) -> bool {
        self.0.is_set()
    }
}

/// Runs the engine until one of its limits and returns the report.
#[pyfunction]
#[pyo3(signature = (config, *, host=None, processors=Vec::new(), mirror=false, log=None, log_level=20, stop=None))]
#[allow(clippy::too_many_arguments)] // keyword arguments, in Python
pub(crate) fn run<'py>(
    py: Python<'py>,
    config: &str,
    host: Option<Py<PyAny>>,
    processors: Vec<String>,
    mirror: bool,
    log: Option<Py<PyAny>>,
    log_level: u8,
    stop: Option<&Bound<'py, StopFlag>>,
) -> PyResult<Bound<'py, PyAny>> {
    let config = Settings::parse(config)?;
    let stop = stop.map(|flag| flag.get().0.clone()).unwrap_or_default();
    let has_mirror = mirror && host.is_some();
    let processors: HashSet<String> = processors.into_iter().collect();
    let surroundings = Surroundings { host, log, log_level, stop: stop.clone() };
    let report = door::call(py, &surroundings, move |messages| {
        ingest::run(config, Arc::new(Bridge { messages, processors, has_mirror }), stop)
    })?;
    python(py, &as_json(&report))
}

/// Per table, without zeros.
fn drift(report: &Report) -> serde_json::Value {
    let by_table = report.drift.iter().map(|(table, counts)| {
        let counts = [
            ("missing", counts.missing),
            ("mistyped", counts.mistyped),
            ("new_fields", counts.new_fields),
        ];
        let some = counts.into_iter().filter(|(_, count)| *count > 0);
        (table.clone(), some.map(|(kind, count)| (kind.to_owned(), json!(count))).collect())
    });
    serde_json::Value::Object(by_table.collect())
}

fn as_json(report: &Report) -> serde_json::Value {
    let seconds = report.execution_time.as_secs_f64();
    let rate = if seconds > 0.0 { report.events_processed as f64 / seconds } else { 0.0 };
    json!({
        "stream": report.stream,
        "events_processed": report.events_processed,
        "execution_time_seconds": seconds,
        "events_per_second": rate,
        "batches_processed": report.batches_processed,
        "rows": report.rows,
        "duplicates": report.duplicates,
        "dead_letters": report.dead_letters,
        "drift": drift(report),
        "waiting": report.waiting,
        "resumed": report.resumed,
        "ignored": report.ignored,
        "gaps": report.gaps,
        "gaps_repaired": report.gaps_repaired,
        "bytes": report.bytes,
        "first_offset": report.first_offset,
        "last_offset": report.last_offset,
        "position": report.position,
        "epoch": report.epoch,
        "resume_class": report.resume_class.as_str(),
        "guarantee": report.resume_class.guarantee(),
        "reconnects": report.reconnects,
        "stop_reason": report.stop_reason.as_str(),
    })
}
