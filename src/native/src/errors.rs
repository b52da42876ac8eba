//! The one place where an engine error becomes a Python exception.

use ingest::ErrorKind;
use pyo3::PyErr;

/// The classes are Python's (`sse_stream/errors.py`); here they are only found again.
mod tree {
    #![allow(unreachable_pub)]
    pyo3::import_exception!(sse_stream.errors, SSEStreamError);
    pyo3::import_exception!(sse_stream.errors, SourceError);
    pyo3::import_exception!(sse_stream.errors, SourceRejectedError);
    pyo3::import_exception!(sse_stream.errors, ProtocolError);
    pyo3::import_exception!(sse_stream.errors, DatabaseError);
    pyo3::import_exception!(sse_stream.errors, SchemaError);
    pyo3::import_exception!(sse_stream.errors, OffsetConflictError);
    pyo3::import_exception!(sse_stream.errors, BadEventError);
    pyo3::import_exception!(sse_stream.errors, ConfigError);
}

pub(crate) fn exception(error: &ingest::Error) -> PyErr {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Source => tree::SourceError::new_err(text),
        ErrorKind::SourceRejected => tree::SourceRejectedError::new_err(text),
        ErrorKind::Protocol => tree::ProtocolError::new_err(text),
        ErrorKind::Database => tree::DatabaseError::new_err(text),
        ErrorKind::Schema => tree::SchemaError::new_err(text),
        ErrorKind::OffsetConflict => tree::OffsetConflictError::new_err(text),
        ErrorKind::BadEvent => tree::BadEventError::new_err(text),
        ErrorKind::Config => tree::ConfigError::new_err(text),
        _ => tree::SSEStreamError::new_err(text),
    }
}

pub(crate) fn config(text: impl Into<String>) -> PyErr {
    tree::ConfigError::new_err(text.into())
}

/// The engine did not come to a committed end in the time it had after a stop.
pub(crate) fn aborted() -> PyErr {
    tree::DatabaseError::new_err(
        "stopped before the open batch could be committed; it was rolled back and comes again",
    )
}
