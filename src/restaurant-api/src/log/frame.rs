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
/// First offset, events, added, removed, orders, ticks, last ts, bytes of blocks.
const FIXED: usize = 8 + 4 + 4 + 4 + 8 + 8 + 8 + 4;
const ENTRY: usize = 8;
const DUE: usize = 33;
const KEY: usize = 16;

/// A frame read back.
pub(super) struct Frame {
    pub(super) page: Page,
    orders: u64,
    ticks: u64,
    last_ts: i64,
    added: Vec<Due>,
    removed: Vec<(i64, u64)>,
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

/// Reads the frame at the start of `bytes` and says how many bytes it took.
pub(super) fn decode(bytes: &[u8]) -> Result<(Frame, usize), Unreadable> {
    let magic = &bytes[..bytes.len().min(4)];
    if !MAGIC.starts_with(magic) {
        return Err(Unreadable::Corrupt);
    }
    let mut header = Reader(bytes);
    header.take(4).ok_or(Unreadable::Torn)?;
    let length = header.u32().ok_or(Unreadable::Torn)? as usize;
    let crc = header.u32().ok_or(Unreadable::Torn)?;
    let body = header.take(length).ok_or(Unreadable::Torn)?;
    if crc32fast::hash(body) != crc {
        return Err(Unreadable::Corrupt);
    }
    let frame = body_of(Reader(body)).ok_or(Unreadable::Corrupt)?;
    Ok((frame, HEADER + length))
}

fn body_of(mut body: Reader<'_>) -> Option<Frame> {
    if body.0.len() < FIXED {
        return None;
    }
    let first = body.u64()?;
    let (events, added, removed) = (body.u32()?, body.u32()?, body.u32()?);
    let (orders, ticks, last_ts) = (body.u64()?, body.u64()?, body.u64()? as i64);
    let size = body.u32()? as usize;
    let mut entries = Reader(body.take(events as usize * ENTRY)?);
    let mut dues = Reader(body.take(added as usize * DUE)?);
    let mut keys = Reader(body.take(removed as usize * KEY)?);
    let blocks = body.take(size)?;
    let entry = || {
        let end = entries.u32()?;
        let json = u16::from_le_bytes(entries.take(2)?.try_into().ok()?);
        let [event_type, site] = entries.take(2)?.try_into().ok()?;
        Some(Entry { end, json, event_type, site })
    };
    let entries = std::iter::from_fn(entry).collect();
    let due = || {
        Some(Due {
            at: dues.u64()? as i64,
            order: dues.u64()?,
            order_id: uuid::Uuid::from_slice(dues.take(16)?).ok()?,
            site: dues.take(1)?[0],
        })
    };
    let added = std::iter::from_fn(due).collect();
    let key = || Some((keys.u64()? as i64, keys.u64()?));
    let removed = std::iter::from_fn(key).collect();
    Some(Frame {
        page: Page::new(first, Bytes::copy_from_slice(blocks), entries),
        orders,
        ticks,
        last_ts,
        added,
        removed,
    })
}

impl Frame {
    /// Brings `state` to where it was behind this frame.
    pub(super) fn apply(&self, state: &mut State) {
        // Added first: an answer due at once is added and removed by the same step.
        for due in &self.added {
            state.add(*due);
        }
        for key in &self.removed {
            state.due.remove(key);
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
}
