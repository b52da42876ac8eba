//! What can be wrong for good, and what is only trouble for now.

use std::sync::Arc;

/// What went wrong, in classes a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Name lookup, connect, reset, time-out, end of stream: may pass.
    Network,
    /// The server answered with this HTTP status; 429 and 5xx may pass.
    Status(u16),
    /// The server answered with something that is no event stream, or redirected in vain.
    Rejected,
    /// The next request cannot be expressed in HTTP.
    Protocol,
    /// A value of the configuration is not usable.
    Config,
}

impl ErrorKind {
    pub(super) fn is_transient(self) -> bool {
        match self {
            ErrorKind::Network => true,
            ErrorKind::Status(status) => status == 429 || status >= 500,
            ErrorKind::Rejected | ErrorKind::Protocol | ErrorKind::Config => false,
        }
    }
}

/// A final error of the client. Its message names the URL without credentials and query values,
/// the cause, and what to do next.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: Arc<str>,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into().into() }
    }

    /// Credentials that cannot be had, and asking again would not help: for who makes them
    /// ([`Credentials`](crate::Credentials)). The message must hold no secret.
    pub fn refused(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Rejected, message)
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether a later run may succeed without any change: the attempts ran out while the
    /// trouble was of a passing kind.
    pub fn is_transient(&self) -> bool {
        self.kind.is_transient()
    }
}
