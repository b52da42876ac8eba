//! One append on disk: the events of a step together with what the step did to the simulator's
//! state, under one checksum. Either all of it is there after a crash or none.

use std::io;

use bytes::Bytes;

use super::page::Page;
use crate::simulator::{Due, State, Step};
use crate::wire::Entry;

const MAGIC: [u8; 4] = *b"RAF1";
/// Magic, length of the body, checksum of the body.
pub(super) const HEADER: usize = 12;
const ENTRY: usize = 8;
const DUE: usize = 33;
const KEY: usize = 16;

/// A frame read back: its numbers, and where in the bytes the rest of it lies.
pub(super) struct Frame<'a> {
    /// Offset of the first event, or of the next one if there is none.
    pub(super) first: u64,
    /// SSE blocks of the events; the last bytes of the frame.
    pub(super) blocks: &'a [u8],
    orders: u64,
    ticks: u64,
    last_ts: i64,
    entries: &'a [u8],
    added: &'a [u8],
    removed: &'a [u8],
}

/// Why bytes are not a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// They end too early: what a killed writer leaves behind.
    Torn,
    /// They are all there and wrong: no killed writer does that.
    Corrupt,
}

/// Writes the frame of a step that led to `state`.
pub(super) fn encode(page: &Page, step: &Step, state: &State, out: &mut Vec<u8>) -> io::Result<()> {
    let removed = step.removed.as_slice();
    put(page, step.added.iter(), removed, state, out)
}

/// Writes a frame without events that holds all of `state`: the start of every segment.
pub(super) fn encode_state(first: u64, state: &State, out: &mut Vec<u8>) -> io::Result<()> {
    let page = Page::new(first, Bytes::new(), Box::default());
    put(&page, state.due.values(), &[], state, out)
}

fn put<'a>(
    page: &Page,
    added: impl ExactSizeIterator<Item = &'a Due>,
    removed: &[(i64, u64)],
    state: &State,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    out.clear();
    out.extend_from_slice(&[0; HEADER]);
    out.extend_from_slice(&page.first().to_le_bytes());
    for count in [page.len(), added.len(), removed.len()] {
        out.extend_from_slice(&(count as u32).to_le_bytes());
    }
    out.extend_from_slice(&state.orders.to_le_bytes());
    out.extend_from_slice(&state.ticks.to_le_bytes());
    out.extend_from_slice(&state.last_ts.to_le_bytes());
    out.extend_from_slice(&(page.size() as u32).to_le_bytes());
    for entry in page.entries() {
        out.extend_from_slice(&entry.end.to_le_bytes());
        out.extend_from_slice(&entry.json.to_le_bytes());
        out.extend_from_slice(&[entry.event_type, entry.site]);
    }
    for due in added {
        out.extend_from_slice(&due.at.to_le_bytes());
        out.extend_from_slice(&due.order.to_le_bytes());
        out.extend_from_slice(due.order_id.as_bytes());
        out.push(due.site);
    }
    for (at, order) in removed {
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&order.to_le_bytes());
    }
    out.extend_from_slice(&page.blocks(0..page.len()));
    let length = u32::try_from(out.len() - HEADER)
        .map_err(|_| io::Error::other("a frame of the event log exceeds 4 GiB"))?;
    let crc = crc32fast::hash(&out[HEADER..]);
    out[..4].copy_from_slice(&MAGIC);
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Bytes of the frame that starts with `bytes`, of which the header is enough.
pub(super) fn len(bytes: &[u8]) -> Result<usize, Unreadable> {
    let magic = &bytes[..bytes.len().min(4)];
    if !MAGIC.starts_with(magic) {
        return Err(Unreadable::Corrupt);
    }
    let length = bytes.get(4..8).and_then(|length| length.try_into().ok());
    let length = u32::from_le_bytes(length.ok_or(Unreadable::Torn)?);
    Ok(HEADER + length as usize)
}

/// Reads the frame at the start of `bytes` and says how many bytes it takes.
pub(super) fn decode(bytes: &[u8]) -> Result<(Frame<'_>, usize), Unreadable> {
    let len = len(bytes)?;
    let (header, body) = bytes
        .get(..len)
        .and_then(|frame| frame.split_at_checked(HEADER))
        .ok_or(Unreadable::Torn)?;
    if crc32fast::hash(body).to_le_bytes() != header[8..] {
        return Err(Unreadable::Corrupt);
    }
    let frame = body_of(Reader(body)).ok_or(Unreadable::Corrupt)?;
    Ok((frame, len))
}

fn body_of(mut body: Reader<'_>) -> Option<Frame<'_>> {
    let first = body.u64()?;
    let (events, added, removed) = (body.u32()?, body.u32()?, body.u32()?);
    let (orders, ticks, last_ts) = (body.u64()?, body.u64()?, body.u64()? as i64);
    let size = body.u32()? as usize;
    let entries = body.take(events as usize * ENTRY)?;
    let added = body.take(added as usize * DUE)?;
    let removed = body.take(removed as usize * KEY)?;
    // Nothing may follow: whoever reads a frame finds its blocks from its end.
    let blocks = (body.0.len() == size).then_some(body.0)?;
    Some(Frame { first, blocks, orders, ticks, last_ts, entries, added, removed })
}

impl Frame<'_> {
    /// Events in the frame.
    pub(super) fn len(&self) -> usize {
        self.entries.len() / ENTRY
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let mut entries = Reader(self.entries);
        std::iter::from_fn(move || {
            let end = entries.u32()?;
            let json = u16::from_le_bytes(entries.take(2)?.try_into().ok()?);
            let [event_type, site] = entries.take(2)?.try_into().ok()?;
            Some(Entry { end, json, event_type, site })
        })
    }

    /// Brings `state` to where it was behind this frame.
    pub(super) fn apply(&self, state: &mut State) {
        // Added first: an answer due at once is added and removed by the same step.
        let mut added = Reader(self.added);
        while let Some(due) = added.due() {
            state.add(due);
        }
        let mut removed = Reader(self.removed);
        while let (Some(at), Some(order)) = (removed.u64(), removed.u64()) {
            state.due.remove(&(at as i64, order));
        }
        state.orders = self.orders;
        state.ticks = self.ticks;
        state.last_ts = self.last_ts;
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn due(&mut self) -> Option<Due> {
        Some(Due {
            at: self.u64()? as i64,
            order: self.u64()?,
            order_id: uuid::Uuid::from_slice(self.take(16)?).ok()?,
            site: self.take(1)?[0],
        })
    }
}
