//! What a single line says, and where a field's value is kept.

use std::time::Duration;

use memchr::memchr;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Blank,
    Comment,
    Data,
    Event,
    Id,
    Retry,
    Unknown,
}

/// Tells the field of a line and where its value begins.
pub(super) fn split(line: &[u8]) -> (Field, usize) {
    match line {
        [] => (Field::Blank, 0),
        [b':', ..] => (Field::Comment, 1),
        [b'd', b'a', b't', b'a', rest @ ..] => named(Field::Data, 4, rest),
        [b'i', b'd', rest @ ..] => named(Field::Id, 2, rest),
        [b'e', b'v', b'e', b'n', b't', rest @ ..] => named(Field::Event, 5, rest),
        [b'r', b'e', b't', b'r', b'y', rest @ ..] => named(Field::Retry, 5, rest),
        _ => (Field::Unknown, 0),
    }
}

/// A line without a colon is a field with an empty value; one space after the colon is dropped.
fn named(field: Field, name_end: usize, rest: &[u8]) -> (Field, usize) {
    match rest {
        [] => (field, name_end),
        [b':', b' ', ..] => (field, name_end + 2),
        [b':', ..] => (field, name_end + 1),
        _ => (Field::Unknown, 0),
    }
}

/// The wait a `retry` value asks for; only ASCII digits count, absurdly many mean "very long".
pub(super) fn retry(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let millis = value
        .iter()
        .fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_millis(millis))
}

/// An id that contains NUL is ignored altogether.
pub(super) fn is_valid_id(value: &[u8]) -> bool {
    memchr(0, value).is_none()
}

/// A range of bytes; in which buffer, the context says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    pub(super) fn length(self) -> usize {
        self.end - self.start
    }

    pub(super) fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start..self.end]
    }
}

/// Where the value of a block's field is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Slot {
    #[default]
    Empty,
    /// In the present chunk.
    Chunk(Span),
    /// In the parser's own buffer, from this position to its end.
    Owned(usize),
}

impl Slot {
    pub(super) fn is_empty(self) -> bool {
        matches!(self, Slot::Empty)
    }

    pub(super) fn bytes<'a>(self, chunk: &'a [u8], own: &'a [u8]) -> &'a [u8] {
        match self {
            Slot::Empty => &[],
            Slot::Chunk(span) => span.of(chunk),
            Slot::Owned(from) => &own[from..],
        }
    }

    /// Moves the value into the parser's own buffer, so that it outlives the chunk.
    pub(super) fn keep(&mut self, chunk: &[u8], own: &mut Vec<u8>) {
        if let Slot::Chunk(span) = *self {
            self.copy_from(span.of(chunk), own);
        }
    }

    pub(super) fn copy_from(&mut self, value: &[u8], own: &mut Vec<u8>) {
        own.clear();
        own.extend_from_slice(value);
        *self = Slot::Owned(0);
    }
}

/// Appends like `extend_from_slice`, but doubling never allocates beyond `most` bytes.
pub(super) fn append(buffer: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let needed = buffer.len() + bytes.len();
    if needed > buffer.capacity() {
        let wanted = (2 * buffer.capacity()).min(most).max(needed);
        buffer.reserve_exact(wanted - buffer.len());
    }
    buffer.extend_from_slice(bytes);
}
