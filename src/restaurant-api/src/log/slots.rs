//! The table of pages, found by offset.

use std::collections::VecDeque;
use std::sync::Arc;

use super::PAGE_BYTES;
use super::page::Page;
use super::segment::Place;

/// A page, wherever it is: in memory, on disk, or both.
pub(super) struct Slot {
    pub(super) first: u64,
    pub(super) events: usize,
    pub(super) bytes: usize,
    pub(super) page: Option<Arc<Page>>,
    pub(super) place: Option<Arc<Place>>,
}

/// What readers and the writer share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) slots: VecDeque<Slot>,
    pub(super) next: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Shared {
    pub(super) fn first(&self) -> u64 {
        self.slots.front().map_or(self.next, |slot| slot.first)
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.next = slot.first + slot.events as u64;
        self.events += slot.events as u64;
        self.bytes += slot.bytes as u64;
        self.slots.push_back(slot);
    }

    /// Adds a frame found on disk, joining it to the slot before where a page has room.
    pub(super) fn take_back(
        &mut self,
        first: u64,
        events: usize,
        bytes: usize,
        place: Place,
        most: usize,
    ) {
        self.events += events as u64;
        self.bytes += bytes as u64;
        if let Some(slot) = self.slots.back_mut()
            && let Some(before) = &slot.place
            && before.segment == place.segment
            && slot.bytes + bytes <= PAGE_BYTES
            && slot.events + events <= most
        {
            slot.place = Some(Arc::new(before.through(&place)));
            slot.events += events;
            slot.bytes += bytes;
            return;
        }
        self.slots.push_back(Slot {
            first,
            events,
            bytes,
            page: None,
            place: Some(Arc::new(place)),
        });
    }

    pub(super) fn slot_of(&self, offset: u64) -> &Slot {
        let behind = self.slots.partition_point(|slot| slot.first <= offset);
        &self.slots[behind - 1]
    }

    /// Slots and events of the oldest unit that is dropped at once: a page, or a segment.
    pub(super) fn oldest_unit(&self, on_disk: bool) -> Option<(usize, u64)> {
        let front = self.slots.front()?;
        if !on_disk {
            return Some((1, front.events as u64));
        }
        let segment = front.place.as_ref()?.segment;
        let same = |slot: &&Slot| slot.place.as_ref().is_some_and(|p| p.segment == segment);
        let unit = self.slots.iter().take_while(same);
        Some(unit.fold((0, 0), |(n, events), slot| (n + 1, events + slot.events as u64)))
    }
}
