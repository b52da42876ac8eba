//! A run of consecutive events in one piece of memory, shared by all who read it.

use std::ops::Range;

use bytes::Bytes;

use crate::wire::{BLOCK_TAIL, Entry};

/// Immutable blocks with their index. Handing out a part costs a reference count, not a copy.
#[derive(Debug)]
pub struct Page {
    first: u64,
    bytes: Bytes,
    entries: Box<[Entry]>,
}

impl Page {
    pub(super) fn new(first: u64, bytes: Bytes, entries: Box<[Entry]>) -> Self {
        Self { first, bytes, entries }
    }

    /// One page of the events of all these, which must follow each other.
    pub(super) fn concat<'a>(parts: impl Iterator<Item = &'a Page> + Clone) -> Option<Self> {
        let first = parts.clone().next()?.first;
        let size = parts.clone().map(|p| p.bytes.len()).sum();
        let mut bytes = Vec::with_capacity(size);
        let mut entries = Vec::with_capacity(parts.clone().map(|p| p.entries.len()).sum());
        for part in parts {
            let base = bytes.len() as u32;
            bytes.extend_from_slice(&part.bytes);
            entries
                .extend(part.entries.iter().map(|entry| Entry { end: entry.end + base, ..*entry }));
        }
        Some(Self::new(first, bytes.into(), entries.into()))
    }

    /// Offset of the first event.
    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Complete SSE blocks of the events at these indexes.
    pub fn blocks(&self, events: Range<usize>) -> Bytes {
        self.bytes.slice(self.start(events.start)..self.start(events.end))
    }

    /// The envelope of one event, as JSON on one line.
    pub fn json(&self, event: usize) -> &[u8] {
        let entry = &self.entries[event];
        let start = self.start(event) + usize::from(entry.json);
        &self.bytes[start..entry.end as usize - BLOCK_TAIL]
    }

    /// The text of one event's `ts`.
    pub fn ts(&self, event: usize) -> &[u8] {
        let entry = &self.entries[event];
        crate::wire::ts_of(&self.bytes[self.start(event)..entry.end as usize], entry)
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    fn start(&self, event: usize) -> usize {
        match event {
            0 => 0,
            _ => self.entries[event - 1].end as usize,
        }
    }
}
