//! The Python side of a processor's transaction: each query goes to the engine thread that holds it.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use ingest::Rows;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::message::Request;

/// Valid until its processor returns.
#[pyclass(frozen, module = "sse_stream._native")]
pub(crate) struct CursorPort(Mutex<Option<SyncSender<Request>>>);

/// Column names and type names, rows, row count.
type Answer<'py> = (Vec<(String, String)>, Bound<'py, PyList>, u64);

impl CursorPort {
    pub(crate) fn new(requests: SyncSender<Request>) -> Self {
        Self(Mutex::new(Some(requests)))
    }

    pub(crate) fn close(&self) {
        self.slot().take();
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<SyncSender<Request>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl CursorPort {
    /// Runs one statement and waits for its rows without the GIL.
    #[pyo3(signature = (sql, params=None))]
    fn query<'py>(
        &self,
        py: Python<'py>,
        sql: String,
        params: Option<Vec<(Option<String>, Option<String>)>>,
    ) -> PyResult<Answer<'py>> {
        let requests = self.slot().clone().ok_or_else(|| {
            PyRuntimeError::new_err(
                "the cursor is closed; it is valid only while its processor runs",
            )
        })?;
        let answered = py.detach(move || {
            let (answer, answered) = sync_channel(1);
            requests.send(Request::Query { sql, params, answer }).ok()?;
            answered.recv().ok()
        });
        match answered {
            Some(Ok(rows)) => answer(py, rows),
            Some(Err(text)) => Err(PyRuntimeError::new_err(text)),
            None => Err(PyRuntimeError::new_err("the batch has ended; the statement did not run")),
        }
    }
}

fn answer(py: Python<'_>, rows: Rows) -> PyResult<Answer<'_>> {
    let list = PyList::empty(py);
    for row in &rows.rows {
        let values = row.iter().map(|value| value.as_deref().map(|bytes| PyBytes::new(py, bytes)));
        list.append(PyTuple::new(py, values.collect::<Vec<_>>())?)?;
    }
    Ok((rows.columns, list, rows.row_count))
}
