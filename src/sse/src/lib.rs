//! Server-Sent Events for data pipelines: bytes in, events out.
//!
//! [`Parser`] does no I/O, holds a bounded amount of memory and hands out borrowed items.
//! [`Client`] (feature `client`) adds HTTP: connect, resume, back off. Neither knows what an
//! event's data means.

mod parser;

#[cfg(feature = "client")]
mod client;

#[cfg(feature = "client")]
pub use client::{
    Authorization, Backoff, Client, ClientConfig, Connected, Credentials, Disconnected, Error,
    ErrorKind, Page, Pages, Proxy, Resume, Signal, Tls,
};
pub use parser::{Event, Item, Limits, Oversize, Parser};
