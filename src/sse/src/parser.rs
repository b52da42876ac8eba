//! The parser: a state machine over lines, fed with chunks, emptied item by item.
//!
//! The common block (each field once, wholly inside one chunk) is never copied: the parser
//! remembers where its fields stand in the chunk. Only what a chunk border cuts, and data of
//! several lines, goes through the parser's own buffers. No byte is searched twice.

mod field;
mod item;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use field::{Field, Slot, Span};
pub use item::{Event, Item, Limits, Oversize};

/// How much of an oversized event's data is kept, and the longest id and event type, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// Below this a line could not even name its field.
const SMALLEST_LINE_BYTES: usize = 16;
const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// The block being read.
#[derive(Debug, Default)]
struct Block {
    id: Slot,
    event: Slot,
    data: Slot,
    /// As in [`Oversize::bytes`].
    bytes: u64,
    oversize: bool,
    /// Something was left out of the data, so nothing may be appended to it any more.
    cut: bool,
    /// The block was lent out as an item.
    taken: bool,
}

/// A line without its terminator, in the chunk or in `carry`.
#[derive(Clone, Copy)]
struct Line {
    carried: bool,
    /// What there is of it, at most `max_line_bytes`.
    span: Span,
    /// How many bytes it had beyond that.
    lost: u64,
}

/// What a finished line or block turned into, before it is dressed as a borrowed [`Item`].
enum Found {
    Comment { carried: bool, span: Span },
    Retry(Duration),
    IdOnly,
    Event { own_id: bool },
    Oversize { own_id: bool },
}

/// Splits a stream of bytes into [`Item`]s. One parser serves one connection: what is
/// unfinished when the connection ends is dropped with the parser, its id included.
#[derive(Debug, Default)]
pub struct Parser {
    limits: Limits,
    chunk: Bytes,
    /// Everything before this position of `chunk` has been taken in.
    at: usize,
    /// How many bytes of a byte order mark have matched; `BOM.len()` once that is settled.
    bom: usize,
    /// The last line ended with CR, so a LF that follows belongs to it.
    after_cr: bool,
    /// The start of a line that a chunk border cut, at most `max_line_bytes`.
    carry: Vec<u8>,
    /// Bytes of that line that were over the limit and not kept.
    carry_lost: u64,

    /// `carry` was lent out as an item.
    carry_taken: bool,

    block: Block,
    /// Values that a chunk border separated from the end of their block.
    id_buffer: Vec<u8>,
    event_buffer: Vec<u8>,
    data_buffer: Vec<u8>,

    last_event_id: Vec<u8>,
    retry: Option<Duration>,
    event_text: String,
    data_text: String,
}

impl Parser {
    /// A parser for a new stream without a last event id.
    pub fn new(limits: Limits) -> Self {
        let limits =
            Limits { max_line_bytes: limits.max_line_bytes.max(SMALLEST_LINE_BYTES), ..limits };
        Parser { limits, ..Parser::default() }
    }

    /// A parser for a stream that was resumed at `id`: events that carry no id of their own
    /// keep it.
    pub fn with_last_event_id(limits: Limits, id: &[u8]) -> Self {
        let mut parser = Parser::new(limits);
        parser.last_event_id.extend_from_slice(id);
        parser
    }

    /// Hands over one chunk. Take all items with [`Parser::next`] first: what is left of an
    /// earlier chunk has to be copied in front of the new one.
    pub fn push(&mut self, chunk: Bytes) {
        self.forget_taken();
        self.keep_spans();
        if self.at < self.chunk.len() {
            let rest = &self.chunk[self.at..];
            let mut joined = BytesMut::with_capacity(rest.len() + chunk.len());
            joined.extend_from_slice(rest);
            joined.extend_from_slice(&chunk);
            self.chunk = joined.freeze();
        } else {
            self.chunk = chunk;
        }
        self.at = 0;
    }

    /// The next item, or `None` when more bytes are needed.
    // An iterator cannot lend from itself, so this is no `Iterator::next`.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Item<'_>> {
        let found = self.find()?;
        let Parser {
            chunk,
            carry,
            event_buffer,
            data_buffer,
            last_event_id,
            event_text,
            data_text,
            block,
            ..
        } = self;
        let id = last_event_id.as_slice();
        Some(match found {
            Found::Comment { carried, span } => {
                Item::Comment(span.of(if carried { carry } else { chunk }))
            }
            Found::Retry(wait) => Item::Retry(wait),
            Found::IdOnly => Item::IdOnly(id),
            Found::Event { own_id } => {
                let raw = block.data.bytes(chunk, data_buffer);
                let (data, raw_data) = text(raw, data_text);
                let event = event_type(block.event.bytes(chunk, event_buffer), event_text);
                Item::Event(Event { id, own_id, event, data, raw_data })
            }
            Found::Oversize { own_id } => Item::Oversize(Oversize {
                id,
                own_id,
                event: event_type(block.event.bytes(chunk, event_buffer), event_text),
                head: block.data.bytes(chunk, data_buffer),
                bytes: block.bytes,
            }),
        })
    }

    /// The last event id of the last finished block (or the one the stream was resumed at).
    pub fn last_event_id(&self) -> &[u8] {
        &self.last_event_id
    }

    /// The last valid `retry` of this stream.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn find(&mut self) -> Option<Found> {
        self.forget_taken();
        if self.bom < BOM.len() && !self.skip_bom() {
            return None;
        }
        while self.at < self.chunk.len() {
            if self.after_cr {
                self.after_cr = false;
                if self.chunk[self.at] == b'\n' {
                    self.at += 1;
                    continue;
                }
            }
            let rest = &self.chunk[self.at..];
            let Some(length) = field::line_end(rest) else {
                self.carry_rest();
                break;
            };
            self.after_cr = rest[length] == b'\r';
            let start = self.at;
            self.at += length + 1;
            if let Some(found) = self.finish_line(start, start + length) {
                return Some(found);
            }
        }
        self.keep_spans();
        self.chunk = Bytes::new();
        self.at = 0;
        None
    }

    /// Whether the start of the stream is settled. Bytes that only looked like a mark are the
    /// start of the first line.
    fn skip_bom(&mut self) -> bool {
        while let Some(&byte) = self.chunk.get(self.at) {
            if byte != BOM[self.bom] {
                self.carry.extend_from_slice(&BOM[..self.bom]);
                self.bom = BOM.len();
            } else {
                self.at += 1;
                self.bom += 1;
            }
            if self.bom == BOM.len() {
                return true;
            }
        }
        false
    }

    /// The chunk ends inside a line: puts its part of the line aside, as far as the limit allows.
    fn carry_rest(&mut self) {
        self.carry_on(self.at, self.chunk.len());
        self.at = self.chunk.len();
    }

    fn carry_on(&mut self, start: usize, end: usize) {
        let room = self.limits.max_line_bytes - self.carry.len();
        let kept = room.min(end - start);
        self.carry.extend_from_slice(&self.chunk[start..start + kept]);
        self.carry_lost += (end - start - kept) as u64;
    }

    /// Takes in the line that ends at `end`; its start may have been carried over.
    fn finish_line(&mut self, start: usize, end: usize) -> Option<Found> {
        if self.carry.is_empty() {
            let kept = self.limits.max_line_bytes.min(end - start);
            return self.take_line(Line {
                carried: false,
                span: Span { start, end: start + kept },
                lost: (end - start - kept) as u64,
            });
        }
        self.carry_on(start, end);
        let found = self.take_line(Line {
            carried: true,
            span: Span { start: 0, end: self.carry.len() },
            lost: self.carry_lost,
        });
        self.carry_lost = 0;
        match found {
            Some(Found::Comment { .. }) => self.carry_taken = true,
            _ => self.carry.clear(),
        }
        found
    }

    fn take_line(&mut self, line: Line) -> Option<Found> {
        let source: &[u8] = if line.carried { &self.carry } else { &self.chunk };
        let (field, value_at) = field::split(line.span.of(source));
        let span = Span { start: line.span.start + value_at, end: line.span.end };
        match field {
            Field::Data => self.take_data(Line { span, ..line }),
            Field::Blank => return self.finish_block(),
            Field::Comment => {
                let carried = line.carried;
                let mut span = span;
                if line.lost > 0 {
                    span.end = span.end.min(span.start + HEAD_BYTES);
                }
                return Some(Found::Comment { carried, span });
            }
            Field::Retry => {
                if line.lost == 0
                    && let Some(wait) = field::retry(span.of(source))
                {
                    self.retry = Some(wait);
                    return Some(Found::Retry(wait));
                }
            }
            Field::Event | Field::Id if line.lost > 0 || span.length() > HEAD_BYTES => {
                self.block.oversize = true;
                self.block.bytes += span.length() as u64 + line.lost;
            }
            Field::Event => match line.carried {
                false => self.block.event = Slot::Chunk(span),
                true => self.block.event.copy_from(span.of(&self.carry), &mut self.event_buffer),
            },
            Field::Id if field::is_valid_id(span.of(source)) => match line.carried {
                false => self.block.id = Slot::Chunk(span),
                true => self.block.id.copy_from(span.of(&self.carry), &mut self.id_buffer),
            },
            Field::Id | Field::Unknown => {}
        }
        None
    }

    /// Adds one data line. The first one stays where it is; a second one needs a place to join.
    fn take_data(&mut self, line: Line) {
        let first = self.block.data.is_empty();
        let block = &mut self.block;
        block.bytes += u64::from(!first) + line.span.length() as u64 + line.lost;
        block.oversize |= line.lost > 0 || block.bytes > self.limits.max_event_bytes as u64;
        if first && !line.carried {
            block.data = Slot::Chunk(line.span);
        } else if first {
            std::mem::swap(&mut self.carry, &mut self.data_buffer);
            block.data = Slot::Owned(line.span.start);
        } else {
            self.join_data(line);
        }
        if self.block.oversize {
            self.cut_data();
            self.block.cut |= line.lost > 0;
        }
    }

    fn join_data(&mut self, line: Line) {
        let mut most = self.limits.max_event_bytes;
        if self.block.oversize {
            most = HEAD_BYTES;
            self.cut_data();
        }
        let block = &mut self.block;
        if block.cut {
            return;
        }
        block.data.keep(&self.chunk, &mut self.data_buffer);
        let source: &[u8] = if line.carried { &self.carry } else { &self.chunk };
        let part = line.span.of(source);
        let part = &part[..part.len().min(most)];
        field::append(&mut self.data_buffer, b"\n", most);
        field::append(&mut self.data_buffer, part, most);
    }

    /// Keeps only the head of an oversized event's data.
    fn cut_data(&mut self) {
        let block = &mut self.block;
        let kept = match &mut block.data {
            Slot::Empty => return,
            Slot::Chunk(span) => {
                let end = span.start + HEAD_BYTES;
                let fits = span.end <= end;
                span.end = span.end.min(end);
                fits
            }
            Slot::Owned(from) => {
                let end = *from + HEAD_BYTES;
                let fits = self.data_buffer.len() <= end;
                self.data_buffer.truncate(end);
                fits
            }
        };
        block.cut |= !kept;
    }

    fn finish_block(&mut self) -> Option<Found> {
        let own_id = !self.block.id.is_empty();
        if own_id {
            let id = self.block.id.bytes(&self.chunk, &self.id_buffer);
            self.last_event_id.clear();
            self.last_event_id.extend_from_slice(id);
        }
        let found = if self.block.oversize {
            Found::Oversize { own_id }
        } else if !self.block.data.is_empty() {
            Found::Event { own_id }
        } else if own_id {
            Found::IdOnly
        } else {
            self.block = Block::default();
            return None;
        };
        self.block.taken = true;
        Some(found)
    }

    /// Drops what the last item lent out.
    fn forget_taken(&mut self) {
        if self.carry_taken {
            self.carry_taken = false;
            self.carry.clear();
        }
        if self.block.taken {
            self.block = Block::default();
            // Mended text can be three times as long as the data; most streams need none.
            self.data_text = String::new();
        }
    }

    /// Copies what the unfinished block has in the present chunk, which is about to go.
    fn keep_spans(&mut self) {
        let block = &mut self.block;
        block.id.keep(&self.chunk, &mut self.id_buffer);
        block.event.keep(&self.chunk, &mut self.event_buffer);
        block.data.keep(&self.chunk, &mut self.data_buffer);
    }
}

/// The data as text, and the bytes as received if they were none. `buffer` holds the mended text.
fn text<'a>(raw: &'a [u8], buffer: &'a mut String) -> (&'a str, Option<&'a [u8]>) {
    match std::str::from_utf8(raw) {
        Ok(text) => (text, None),
        Err(_) => {
            *buffer = String::from_utf8_lossy(raw).into_owned();
            (buffer, Some(raw))
        }
    }
}

fn event_type<'a>(raw: &'a [u8], buffer: &'a mut String) -> &'a str {
    match raw {
        [] => "message",
        raw => text(raw, buffer).0,
    }
}
