//! What goes into the parser's head and what comes out: limits and items.

use std::time::Duration;

/// Bounds on what the parser keeps in memory for one stream.
///
/// Besides the present chunk it holds at most about twice the larger of the two, and three times
/// `max_event_bytes` more while an event whose text had to be mended is lent out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line in bytes, without its terminator; values under 16 count as 16. Default 4 MiB.
    pub max_line_bytes: usize,
    /// Largest data of one event in bytes, its lines joined by LF. Default 4 MiB.
    pub max_event_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_line_bytes: 4 * 1024 * 1024, max_event_bytes: 4 * 1024 * 1024 }
    }
}

/// One thing found in the stream; borrows from the parser until the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A block with data.
    Event(Event<'a>),
    /// A comment line without its leading colon, reported as soon as the line ends. A comment
    /// over the line limit is cut to its first 64 KiB.
    Comment(&'a [u8]),
    /// A valid `retry` field: how long the server wants clients to wait before reconnecting.
    Retry(Duration),
    /// A block that set the last event id (possibly to nothing) but had no data.
    IdOnly(&'a [u8]),
    /// A block over the limits; the stream goes on behind it.
    Oversize(Oversize<'a>),
}

/// A block with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The last event id in force, opaque bytes; empty if none was set.
    pub id: &'a [u8],
    /// Whether this block itself carried a valid `id` field.
    pub own_id: bool,
    /// The event type; `message` if the block named none.
    pub event: &'a str,
    /// The data lines joined by LF; invalid UTF-8 is replaced by U+FFFD.
    pub data: &'a str,
    /// The data as received, only if something in it had to be replaced.
    pub raw_data: Option<&'a [u8]>,
}

/// A block whose data, or whose `data`, `id` or `event` line, was over the limits; 64 KiB is the
/// most for an id and an event type whatever the limits say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversize<'a> {
    /// The last event id in force; an overlong id is not adopted.
    pub id: &'a [u8],
    /// Whether this block itself carried a valid `id` field within the limits.
    pub own_id: bool,
    /// The event type; `message` if none was named within the limits.
    pub event: &'a str,
    /// The first bytes of the data, at most 64 KiB.
    pub head: &'a [u8],
    /// Size of the whole data in bytes, plus that of an overlong id or event type.
    pub bytes: u64,
}
