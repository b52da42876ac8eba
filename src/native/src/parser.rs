//! The event-stream parser alone, for tests and for looking at a feed by hand.

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use sse::{Item, Limits};

/// Bytes in, events out.
#[pyclass(module = "sse_stream._native")]
pub(crate) struct Parser(sse::Parser);

#[pymethods]
impl Parser {
    #[new]
    #[pyo3(signature = (*, max_line_bytes=None, max_event_bytes=None, last_event_id=None))]
    fn new(
        max_line_bytes: Option<usize>,
        max_event_bytes: Option<usize>,
        last_event_id: Option<&[u8]>,
    ) -> Self {
        let defaults = Limits::default();
        let limits = Limits {
            max_line_bytes: max_line_bytes.unwrap_or(defaults.max_line_bytes),
            max_event_bytes: max_event_bytes.unwrap_or(defaults.max_event_bytes),
        };
        Self(sse::Parser::with_last_event_id(limits, last_event_id.unwrap_or_default()))
    }

    /// Takes one chunk and returns what it completed, in order.
    fn feed<'py>(&mut self, py: Python<'py>, chunk: &[u8]) -> PyResult<Bound<'py, PyList>> {
        self.0.push(Bytes::copy_from_slice(chunk));
        let items = PyList::empty(py);
        while let Some(item) = self.0.next() {
            items.append(as_dict(py, item)?)?;
        }
        Ok(items)
    }

    /// The id a new connection would resume at.
    #[getter]
    fn last_event_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.last_event_id())
    }
}

fn as_dict<'py>(py: Python<'py>, item: Item<'_>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    match item {
        Item::Event(event) => {
            dict.set_item("type", "event")?;
            dict.set_item("event", event.event)?;
            dict.set_item("data", event.data)?;
            dict.set_item("id", PyBytes::new(py, event.id))?;
            dict.set_item("own_id", event.own_id)?;
            if let Some(raw) = event.raw_data {
                dict.set_item("raw_data", PyBytes::new(py, raw))?;
            }
        }
        Item::Comment(text) => {
            dict.set_item("type", "comment")?;
            dict.set_item("text", PyBytes::new(py, text))?;
        }
        Item::Retry(wait) => {
            dict.set_item("type", "retry")?;
            dict.set_item("ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))?;
        }
        Item::IdOnly(id) => {
            dict.set_item("type", "id_only")?;
            dict.set_item("id", PyBytes::new(py, id))?;
        }
        Item::Oversize(oversize) => {
            dict.set_item("type", "oversize")?;
            dict.set_item("event", oversize.event)?;
            dict.set_item("id", PyBytes::new(py, oversize.id))?;
            dict.set_item("own_id", oversize.own_id)?;
            dict.set_item("head", PyBytes::new(py, oversize.head))?;
            dict.set_item("bytes", oversize.bytes)?;
        }
    }
    Ok(dict)
}
