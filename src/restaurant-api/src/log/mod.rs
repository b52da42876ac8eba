//! The append-only event log: one writer, any number of readers, each with its own position.
//!
//! Readers hold no queue. They ask for the page behind their position and get shared memory, so a
//! slow one costs nothing but its own delay. In memory the log is a ring of pages; with a data
//! directory old pages lie in segment files and are read back when someone asks.

mod disk;
mod frame;
mod page;
mod segment;
mod slots;
mod sync;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

pub use page::Page;

use crate::simulator::{State, Step};
use crate::wire::Encoder;
use disk::{Disk, Opened};
use slots::{Shared, Slot};

/// Pages grow to about this size, which is also the largest piece handed to a client at once.
const PAGE_BYTES: usize = 256 << 10;
/// Newest pages that stay in memory although they are on disk.
const CACHE_BYTES: u64 = 64 << 20;

/// How much history is kept. The log holds at least `events` (as long as `bytes` allow) and
/// drops whole pages, or whole segments of an eighth of it on disk.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub events: u64,
    pub bytes: u64,
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "data directory {dir} is in use by another process; stop it or choose another --data-dir"
    )]
    Locked { dir: PathBuf },
    #[error(
        "data directory {dir} continues seed {stored}, not {asked}; \
         leave out --seed or choose another --data-dir"
    )]
    Seed { dir: PathBuf, stored: u64, asked: u64 },
    #[error("cannot {doing} data directory {dir}: {source}; check that it exists and is writable")]
    Io { doing: &'static str, dir: PathBuf, source: io::Error },
}

impl Error {
    fn io(doing: &'static str, dir: &Path, source: io::Error) -> Self {
        let dir = dir.into();
        Self::Io { doing, dir, source }
    }
}

/// First and last retained offset; `last` is `first - 1` while nothing is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub first: u64,
    pub last: u64,
    /// Bytes of the retained blocks.
    pub bytes: u64,
}

/// What lies behind a position.
#[derive(Debug)]
pub enum Found {
    /// A page that contains the next event.
    Page(Arc<Page>),
    /// The next events are no longer retained.
    Missed { first: u64, last: u64 },
    /// Nothing yet.
    End,
}

struct Writer {
    encoder: Encoder,
    disk: Option<Disk>,
    /// Young slots at the end that are still to be joined into one page.
    young: usize,
    young_bytes: usize,
    young_events: usize,
    hot_bytes: u64,
}

/// See the module.
pub struct Log {
    shared: RwLock<Shared>,
    writer: Mutex<Writer>,
    head: watch::Sender<u64>,
    retention: Retention,
}

/// A log read back from its directory, and what the simulator needs to go on.
pub struct Continued {
    pub log: Log,
    pub epoch: Uuid,
    pub seed: u64,
    pub state: State,
}

impl Log {
    /// A log that forgets everything when the process ends.
    pub fn in_memory(retention: Retention) -> Self {
        Self::new(retention, None, 1)
    }

    /// The log of a directory, continued or begun.
    ///
    /// `random` gives a seed and an epoch for a log that begins; `seed` overrides the former.
    ///
    /// # Errors
    /// If the directory cannot be used, is in use, or continues another seed.
    pub fn open(
        dir: &Path,
        seed: Option<u64>,
        retention: Retention,
        random: impl Fn() -> (u64, Uuid),
    ) -> Result<Continued, Error> {
        let Opened { disk, epoch, seed, state, frames } = Disk::open(dir, seed, retention, random)?;
        let next = frames.last().map_or(1, |(first, events, ..)| first + *events as u64);
        let log = Self::new(retention, Some(disk), next);
        {
            let mut shared = log.shared.write().unwrap_or_else(PoisonError::into_inner);
            for (first, events, bytes, place) in frames {
                shared.take_back(first, events, bytes, place, log.page_events());
            }
        }
        Ok(Continued { log, epoch, seed, state })
    }

    fn new(retention: Retention, disk: Option<Disk>, next: u64) -> Self {
        Self {
            shared: RwLock::new(Shared { next, ..Shared::default() }),
            writer: Mutex::new(Writer {
                encoder: Encoder::default(),
                disk,
                young: 0,
                young_bytes: 0,
                young_events: 0,
                hot_bytes: 0,
            }),
            head: watch::Sender::new(next - 1),
            retention,
        }
    }

    /// Follows the last offset.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    pub fn bounds(&self) -> Bounds {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        Bounds { first: shared.first(), last: shared.next - 1, bytes: shared.bytes }
    }

    /// Appends the events of a step; `state` is the simulator's behind it. Readers see the events
    /// when this returns, and not before they survive the death of the process.
    ///
    /// # Errors
    /// If the disk refuses; then nothing was appended and the same step may be tried again.
    pub fn append(&self, step: &Step, state: &State) -> io::Result<usize> {
        if step.events.is_empty() {
            return Ok(0);
        }
        let mut guard = self.writer();
        let writer = &mut *guard;
        let first = *self.head.borrow() + 1;
        let mut bytes = Vec::with_capacity(step.events.len() * 512);
        let entries: Box<[_]> = (first..)
            .zip(&step.events)
            .map(|(offset, event)| writer.encoder.block(offset, event, &mut bytes))
            .collect();
        let page = Arc::new(Page::new(first, Bytes::from(bytes), entries));
        let place = match &mut writer.disk {
            Some(disk) => Some(Arc::new(disk.append(&page, step, state)?)),
            None => None,
        };
        let (events, size) = (page.len(), page.size());
        writer.young += 1;
        writer.young_bytes += size;
        writer.young_events += events;
        writer.hot_bytes += size as u64;
        self.change(|shared| {
            shared.push(Slot { first, events, bytes: size, page: Some(page), place });
        });
        self.head.send_replace(first + events as u64 - 1);
        let rolled = match &mut writer.disk {
            Some(disk) => disk.roll(state).unwrap_or_else(|error| {
                tracing::error!(%error, "cannot start the next segment of the event log; free some space");
                false
            }),
            None => false,
        };
        if rolled || writer.young_bytes >= PAGE_BYTES || writer.young_events >= self.page_events() {
            self.join_young(writer);
        }
        self.retire(writer);
        Ok(size)
    }

    /// What lies behind `after`, reading old pages from their file.
    pub async fn read(&self, after: u64) -> Found {
        let (place, last) = {
            let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
            if after + 1 >= shared.next {
                return Found::End;
            }
            if after + 1 < shared.first() {
                return Found::Missed { first: after + 1, last: shared.first() - 1 };
            }
            let slot = shared.slot_of(after + 1);
            if let Some(page) = &slot.page {
                return Found::Page(Arc::clone(page));
            }
            let place = slot.place.clone().expect("a page is in memory or has a place");
            (place, slot.first + slot.events as u64 - 1)
        };
        // Most often the system has it in memory: a change of threads would cost more than that.
        if let Some(page) = place.at_hand() {
            return Found::Page(page);
        }
        let load = tokio::task::spawn_blocking(move || place.load());
        match load.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(page) => Found::Page(page),
            Err(error) => {
                tracing::error!(%error, "cannot read events up to {last} from the event log");
                Found::Missed { first: after + 1, last }
            }
        }
    }

    /// Puts everything on disk. Appending afterwards only reaches memory.
    ///
    /// # Errors
    /// If the disk refuses; then the next start may begin a new epoch.
    pub fn close(&self) -> io::Result<()> {
        let disk = self.writer().disk.take();
        disk.map_or(Ok(()), Disk::close)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        change(&mut self.shared.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Small retentions need small pages, or dropping one would drop half the history.
    fn page_events(&self) -> usize {
        usize::try_from(self.retention.events / 8).unwrap_or(usize::MAX).max(1)
    }

    /// Replaces the young slots by one page. Only the writer changes slots, so the copy may be
    /// made while readers go on.
    fn join_young(&self, writer: &mut Writer) {
        let young = std::mem::take(&mut writer.young);
        (writer.young_bytes, writer.young_events) = (0, 0);
        if young < 2 {
            return;
        }
        let (pages, place) = {
            let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
            let slots = shared.slots.range(shared.slots.len() - young.min(shared.slots.len())..);
            let pages: Vec<_> = slots.clone().filter_map(|slot| slot.page.clone()).collect();
            let places = slots.clone().next().zip(slots.last());
            let place = places.and_then(|(first, last)| {
                let (first, last) = (first.place.as_ref()?, last.place.as_ref()?);
                Some(Arc::new(first.through(last)))
            });
            (pages, place)
        };
        let Some(page) = Page::concat(pages.iter().map(|page| &**page)) else {
            return;
        };
        self.change(|shared| {
            let keep = shared.slots.len() - pages.len();
            shared.slots.truncate(keep);
            shared.slots.push_back(Slot {
                first: page.first(),
                events: page.len(),
                bytes: page.size(),
                page: Some(Arc::new(page)),
                place,
            });
        });
    }

    /// Drops what retention no longer covers, and lets go of memory that is also on disk.
    fn retire(&self, writer: &mut Writer) {
        let Retention { events, bytes } = self.retention;
        let young = writer.young;
        let on_disk = writer.disk.is_some();
        let hot_bytes = &mut writer.hot_bytes;
        let dropped = self.change(|shared| {
            let mut dropped = Vec::new();
            while (shared.events > events || shared.bytes > bytes)
                && let Some((slots, slot_events)) = shared.oldest_unit(on_disk)
            {
                let enough = shared.events - slot_events >= events;
                if slots >= shared.slots.len() || !(enough || shared.bytes > bytes) {
                    break;
                }
                dropped.extend(shared.slots[0].place.as_ref().map(|place| place.segment));
                for slot in shared.slots.drain(..slots) {
                    shared.events -= slot.events as u64;
                    shared.bytes -= slot.bytes as u64;
                    if slot.page.is_some() {
                        *hot_bytes -= slot.bytes as u64;
                    }
                }
            }
            if on_disk && *hot_bytes > CACHE_BYTES {
                let cold = shared.slots.partition_point(|slot| slot.page.is_none());
                let old = shared.slots.len() - young;
                for slot in shared.slots.range_mut(cold..old.max(cold)) {
                    if *hot_bytes <= CACHE_BYTES {
                        break;
                    }
                    slot.page = None;
                    *hot_bytes -= slot.bytes as u64;
                }
            }
            dropped
        });
        if let Some(disk) = &writer.disk {
            dropped.into_iter().for_each(|segment| disk.remove(segment));
        }
        writer.young = young.min(self.slots());
    }

    fn slots(&self) -> usize {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        shared.slots.len()
    }
}
