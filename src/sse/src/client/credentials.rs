//! Credentials that are not fixed: asked for before each request, renewed once when refused.

use std::future::Future;
use std::pin::Pin;

use super::Error;

/// The value of an `Authorization` header, or why there is none: a transient error is tried again
/// like a failed connection, any other ends the client.
pub type Authorization = Pin<Box<dyn Future<Output = Result<String, Error>> + Send>>;

/// Makes the `Authorization` header of each request to the stream's own origin.
pub trait Credentials: Send + Sync {
    /// The header's value. `renew` says that the server has just refused the last one (401): it
    /// must not be given again. Asked at most once in a row so.
    fn authorization(&self, renew: bool) -> Authorization;
}
