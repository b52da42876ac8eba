//! One file of the log: first the simulator's whole state, then the frames that followed.

use std::fs::{File, OpenOptions};
use std::io;
#[cfg(target_os = "linux")]
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};

use bytes::Bytes;
#[cfg(target_os = "linux")]
use rustix::io::{ReadWriteFlags, preadv2};

use super::frame::{self, Frame, Unreadable};
use super::page::Page;
use crate::simulator::{State, Step};
use crate::wire::Entry;

/// A file that is written at its end and may be read anywhere.
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) events: u64,
    file: Arc<File>,
    len: u64,
    /// Bytes of the state at its start.
    head: u64,
}

/// Where the bytes of a page lie; pages read back are shared while anyone holds one.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) segment: u64,
    file: Arc<File>,
    at: u64,
    len: u64,
    loaded: Mutex<Weak<Page>>,
}

pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

impl Segment {
    /// Starts a file for the events from `first` on; a file that cannot be written is removed.
    pub(super) fn create(dir: &Path, first: u64, state: &State) -> io::Result<Self> {
        let path = path(dir, first);
        let mut bytes = Vec::new();
        frame::encode_state(first, state, &mut bytes)?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        if let Err(error) = file.write_all_at(&bytes, 0) {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let len = bytes.len() as u64;
        Ok(Self { first, events: 0, file: Arc::new(file), len, head: len })
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Bytes of the frames behind the state, and of the state.
    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.len - self.head, self.head)
    }

    /// Writes one frame with a single call. When this returns, the bytes are the kernel's: a
    /// killed process cannot lose them any more. After an error the file is as it was before.
    pub(super) fn append(
        &mut self,
        page: &Page,
        step: &Step,
        state: &State,
        scratch: &mut Vec<u8>,
    ) -> io::Result<Place> {
        frame::encode(page, step, state, scratch)?;
        if let Err(error) = self.file.write_all_at(scratch, self.len) {
            self.file.set_len(self.len)?;
            return Err(error);
        }
        let place = self.place(self.len, scratch.len() as u64);
        self.len += scratch.len() as u64;
        self.events += page.len() as u64;
        Ok(place)
    }

    fn place(&self, at: u64, len: u64) -> Place {
        Place {
            segment: self.first,
            file: Arc::clone(&self.file),
            at,
            len,
            loaded: Mutex::default(),
        }
    }

    /// Reads a file back, calling `each` with every frame and its place, in order.
    ///
    /// Returns the segment and whether its end was torn; a torn end is cut off. `None` if not
    /// even the state at its start is whole.
    pub(super) fn recover(
        dir: &Path,
        first: u64,
        mut each: impl FnMut(&Frame<'_>, Place),
    ) -> Result<Option<(Self, bool)>, Damage> {
        let path = path(dir, first);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut left = file.metadata()?.len();
        let mut segment = Self { first, events: 0, file: Arc::new(file), len: 0, head: 0 };
        let mut bytes = Vec::new();
        while left > 0 {
            let read = segment.frame(left, &mut bytes)?;
            let (frame, len) = match read.and_then(|()| frame::decode(&bytes)) {
                Ok(found) => found,
                Err(Unreadable::Torn) => break,
                Err(Unreadable::Corrupt) => return Err(Damage::at(&path, segment.len)),
            };
            if frame.first != first + segment.events {
                return Err(Damage::at(&path, segment.len));
            }
            let place = segment.place(segment.len, len as u64);
            segment.len += len as u64;
            segment.events += frame.len() as u64;
            if segment.head == 0 {
                segment.head = len as u64;
            }
            left -= len as u64;
            each(&frame, place);
        }
        if segment.len == 0 {
            return Ok(None);
        }
        if left > 0 {
            segment.file.set_len(segment.len)?;
        }
        Ok(Some((segment, left > 0)))
    }

    /// Reads the frame at the end of what is known so far, with `left` bytes to the end of the
    /// file, into a buffer that is used again for the next.
    fn frame(&self, left: u64, bytes: &mut Vec<u8>) -> io::Result<Result<(), Unreadable>> {
        bytes.resize(left.min(frame::HEADER as u64) as usize, 0);
        self.file.read_exact_at(bytes, self.len)?;
        let len = match frame::len(bytes) {
            Ok(len) if len as u64 <= left => len,
            Ok(_) => return Ok(Err(Unreadable::Torn)),
            Err(unreadable) => return Ok(Err(unreadable)),
        };
        bytes.resize(len, 0);
        self.file.read_exact_at(&mut bytes[frame::HEADER..], self.len + frame::HEADER as u64)?;
        Ok(Ok(()))
    }
}

impl Place {
    /// The place of this and all that follows up to the end of `last`, in the same file.
    pub(super) fn through(&self, last: &Self) -> Self {
        Self {
            segment: self.segment,
            file: Arc::clone(&self.file),
            at: self.at,
            len: last.at + last.len - self.at,
            loaded: Mutex::default(),
        }
    }

    /// The page, if somebody holds it or its bytes are in the system's cache: what needs no wait.
    pub(super) fn at_hand(&self) -> Option<Arc<Page>> {
        // Whoever holds the lock is reading from the disk.
        let mut loaded = match self.loaded.try_lock() {
            Ok(loaded) => loaded,
            Err(TryLockError::Poisoned(loaded)) => loaded.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if let Some(page) = loaded.upgrade() {
            return Some(page);
        }
        let mut bytes = vec![0; self.len as usize];
        if !read_at_once(&self.file, &mut bytes, self.at) {
            return None;
        }
        let page = Arc::new(page_of(bytes)?);
        *loaded = Arc::downgrade(&page);
        Some(page)
    }

    /// Reads the page from the file, however long that takes.
    pub(super) fn load(&self) -> io::Result<Arc<Page>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = loaded.upgrade() {
            return Ok(page);
        }
        let mut bytes = vec![0; self.len as usize];
        self.file.read_exact_at(&mut bytes, self.at)?;
        let page = Arc::new(page_of(bytes).ok_or(io::ErrorKind::InvalidData)?);
        *loaded = Arc::downgrade(&page);
        Ok(page)
    }
}

/// Fills `bytes` if the system has them all in memory; false if it would have to wait.
#[cfg(target_os = "linux")]
fn read_at_once(file: &File, bytes: &mut [u8], at: u64) -> bool {
    let wanted = bytes.len();
    let read = preadv2(file, &mut [IoSliceMut::new(bytes)], at, ReadWriteFlags::NOWAIT);
    read == Ok(wanted)
}

#[cfg(not(target_os = "linux"))]
fn read_at_once(_: &File, _: &mut [u8], _: u64) -> bool {
    false
}

/// The events of the frames in `bytes`, in the memory of `bytes`: the blocks of the first frame
/// stay where they are and those of the others move up to them. `None` if a frame is damaged.
fn page_of(mut bytes: Vec<u8>) -> Option<Page> {
    let (first, len) = frame::decode(&bytes).ok()?;
    let start = len - first.blocks.len();
    let (first, mut entries) = (first.first, first.entries().collect::<Vec<_>>());
    let (mut read, mut end) = (len, len);
    while read < bytes.len() {
        let (frame, len) = frame::decode(&bytes[read..]).ok()?;
        let base = (end - start) as u32;
        entries.extend(frame.entries().map(|entry| Entry { end: entry.end + base, ..entry }));
        let size = frame.blocks.len();
        read += len;
        bytes.copy_within(read - size..read, end);
        end += size;
    }
    Some(Page::new(first, Bytes::from(bytes).slice(start..end), entries.into()))
}

/// Why a log cannot be continued.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("{file} is damaged at byte {at}")]
    File { file: String, at: u64 },
    #[error("{0}")]
    History(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Damage {
    fn at(path: &Path, at: u64) -> Self {
        let file = path.display().to_string();
        Self::File { file, at }
    }
}
