//! The client: one connection at a time, moved on only by its caller.

mod config;
mod error;
mod request;

use std::time::Duration;

use reqwest::header::HeaderMap;

pub use config::{Backoff, ClientConfig};
pub use error::{Error, ErrorKind};

use crate::{Item, Parser};

/// What one step of the client brought.
#[derive(Debug)]
pub enum Signal {
    /// The stream is open. Decide here whether it is the right one: nothing of it is read yet.
    Connected(Connected),
    /// So many bytes arrived; take their items with [`Client::next_item`].
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
    headers: HeaderMap,
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
}

/// A stream that is kept open: reconnects, resumes at the last event id, backs off.
pub struct Client {
    config: ClientConfig,
    parser: Parser,
}

impl Client {
    /// Checks the configuration; connects only in [`Client::advance`].
    ///
    /// # Errors
    /// `Config` for an unusable URL, header, method or id.
    pub fn new(config: ClientConfig) -> Result<Client, Error> {
        let id = config.last_event_id.clone().unwrap_or_default();
        let parser = Parser::with_last_event_id(config.limits, &id);
        Ok(Client { config, parser })
    }

    /// One step: connects, reads a chunk, or waits for the next attempt.
    ///
    /// Cancel-safe: dropping the future loses nothing, the next call goes on where it was.
    ///
    /// # Errors
    /// Only what no further attempt can mend (see [`ErrorKind`]), or the last failure once
    /// `max_attempts` is reached. Every further call returns the same error.
    pub async fn advance(&mut self) -> Result<Signal, Error> {
        Err(Error::new(
            ErrorKind::Protocol,
            format!("{}: the client is not built yet", self.config.url),
        ))
    }

    /// The next item of what has arrived, or `None` when more bytes are needed.
    pub fn next_item(&mut self) -> Option<Item<'_>> {
        self.parser.next()
    }

    /// Where a new connection would resume: the id of the last finished block.
    pub fn last_event_id(&self) -> &[u8] {
        self.parser.last_event_id()
    }

    /// Drops the present connection unread and goes on from `id` (`None` or empty: no header).
    pub fn restart(&mut self, last_event_id: Option<&[u8]>) {
        self.parser =
            Parser::with_last_event_id(self.config.limits, last_event_id.unwrap_or_default());
    }
}
