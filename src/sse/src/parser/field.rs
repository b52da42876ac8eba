//! What a single line says, and where a field's value is kept.

use std::time::Duration;

use memchr::{memchr, memchr2};

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

/// Where the line ends whose bytes come first. Most lines are short, and a call of a search made
/// for long ones would cost more than their few bytes do.
#[inline]
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The top bit of each byte that is zero; bits above the lowest may be wrong.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES * 0x80);
    let (words, _) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().take(4).enumerate() {
        let word = u64::from_le_bytes(*word);
        let ends = zeros(word ^ (ONES * b'\n' as u64)) | zeros(word ^ (ONES * b'\r' as u64));
        if ends != 0 {
            return Some(8 * place + ends.trailing_zeros() as usize / 8);
        }
    }
    let looked_at = 8 * words.len().min(4);
    memchr2(b'\n', b'\r', &bytes[looked_at..]).map(|at| looked_at + at)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_its_first_terminator_is_wherever_that_is() {
        for length in 0..100 {
            let mut bytes = vec![b'\x0b'; length];
            assert_eq!(line_end(&bytes), None);
            for place in 0..length {
                for end in *b"\n\r" {
                    // What stands behind the first one changes nothing.
                    bytes.fill(0x8a);
                    bytes[place..].fill(b'\n' ^ b'\r' ^ end);
                    bytes[place] = end;
                    assert_eq!(line_end(&bytes), Some(place), "{end} at {place} of {length}");
                }
            }
        }
    }
}
