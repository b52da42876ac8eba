//! What a client tells its caller.

use std::time::Duration;

use reqwest::header::HeaderMap;

use super::ErrorKind;

/// What one step of the client brought.
#[derive(Debug)]
pub enum Signal {
    /// The stream is open. Decide here whether it is the right one: nothing of it is read yet.
    Connected(Connected),
    /// So many bytes arrived; take their items with [`Client::next_item`](crate::Client::next_item).
    Bytes(usize),
    /// The connection failed or ended; the next step waits and connects again.
    Disconnected(Disconnected),
    /// The server said that there is nothing more to come (204). Final.
    End,
}

/// An open stream.
#[derive(Debug)]
pub struct Connected {
    /// Where the stream was found after redirects, without credentials and query values.
    pub url: String,
    /// The HTTP status, 200.
    pub status: u16,
    /// Which consecutive attempt succeeded, from 1.
    pub attempt: u32,
    pub(super) headers: HeaderMap,
}

impl Connected {
    /// A response header by its name in any case, if it is there and plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A connection that failed or ended.
#[derive(Clone, Debug)]
pub struct Disconnected {
    /// What happened, in the words of an error message.
    pub reason: String,
    /// How long the next step waits before it connects.
    pub retry_in: Duration,
    /// The class of the trouble.
    pub kind: ErrorKind,
    /// False where a stream simply ended after it had given something: many sources close now and
    /// then, and the next wait is no longer for it.
    pub failed: bool,
}
