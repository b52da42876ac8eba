//! The one error type of this crate: opaque, with a kind that decides what the caller does next.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, in the terms in which callers decide (see the failure table in ARCHITECTURE.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source could not be reached or broke off; trying again may help.
    Source,
    /// The source refused us (401, 403, 404, not an event stream); trying again will not help.
    SourceRejected,
    /// The source broke the protocol beyond what a dead letter can hold.
    Protocol,
    /// The database could not be reached, shut down or gave up a transaction; trying again may help.
    Database,
    /// A table, column, key or permission is missing.
    Schema,
    /// Another run owns the stream.
    OffsetConflict,
    /// The policy for bad events ended the run; what landed is kept.
    BadEvent,
    /// A setting is wrong.
    Config,
}

/// An error of the ingest core. `kind()` decides, `Display` explains, `source()` keeps the cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), cause: None }))
    }

    pub(crate) fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub(crate) fn schema(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Schema, message)
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Source | ErrorKind::Database | ErrorKind::OffsetConflict)
    }

    /// Sorts a driver error into a kind and says what was being done. The server's message is
    /// kept, its DETAIL is not: it quotes row content, which does not belong into a log.
    pub(crate) fn database(doing: &str, error: tokio_postgres::Error) -> Self {
        let (kind, message) = match error.as_db_error() {
            Some(db) => {
                let code = db.code().code();
                let kind = match code {
                    // undefined schema, table, column, function; insufficient privilege
                    "3F000" | "42P01" | "42703" | "42883" | "42501" | "42704" => ErrorKind::Schema,
                    // wrong password, unknown role, unknown database
                    "28P01" | "28000" | "3D000" => ErrorKind::Config,
                    _ => ErrorKind::Database,
                };
                let next = match kind {
                    ErrorKind::Schema => "; run `python -m sse_stream migrate` or grant the right",
                    ErrorKind::Config => "; check login, password and database of the connection",
                    _ => "",
                };
                (kind, format!("{doing}: {} (sqlstate {code}){next}", db.message()))
            }
            None => (ErrorKind::Database, format!("{doing}: {}", chain(&error))),
        };
        Self::new(kind, message).caused_by(error)
    }
}

/// The messages of an error and its causes in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

impl From<pgtls::Error> for Error {
    fn from(error: pgtls::Error) -> Self {
        let config = Self::config(error.to_string());
        match error.into_cause() {
            Some(cause) => config.caused_by(cause),
            None => config,
        }
    }
}

impl From<sse::Error> for Error {
    fn from(error: sse::Error) -> Self {
        let kind = match error.kind() {
            sse::ErrorKind::Config => ErrorKind::Config,
            sse::ErrorKind::Protocol => ErrorKind::Protocol,
            _ if error.is_transient() => ErrorKind::Source,
            _ => ErrorKind::SourceRejected,
        };
        Self::new(kind, error.to_string()).caused_by(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}
