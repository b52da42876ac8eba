//! One file of the log: first the simulator's whole state, then the frames that followed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::frame::{self, Frame, Unreadable};
use super::page::Page;
use crate::simulator::{State, Step};

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
        mut each: impl FnMut(Frame, Place),
    ) -> Result<Option<(Self, bool)>, Damage> {
        let path = path(dir, first);
        let bytes = std::fs::read(&path)?;
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut segment = Self { first, events: 0, file: Arc::new(file), len: 0, head: 0 };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (frame, len) = match frame::decode(rest) {
                Ok(found) => found,
                Err(Unreadable::Torn) if segment.len == 0 => return Ok(None),
                Err(Unreadable::Torn) => break,
                Err(Unreadable::Corrupt) => return Err(Damage::at(&path, segment.len)),
            };
            if frame.page.first() != first + segment.events {
                return Err(Damage::at(&path, segment.len));
            }
            let place = segment.place(segment.len, len as u64);
            segment.len += len as u64;
            segment.events += frame.page.len() as u64;
            if segment.head == 0 {
                segment.head = len as u64;
            }
            rest = &rest[len..];
            each(frame, place);
        }
        if segment.len == 0 {
            return Ok(None);
        }
        if !rest.is_empty() {
            segment.file.set_len(segment.len)?;
        }
        Ok(Some((segment, !rest.is_empty())))
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

    pub(super) fn loaded(&self) -> Option<Arc<Page>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Reads the page from the file.
    pub(super) fn load(&self) -> io::Result<Arc<Page>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = loaded.upgrade() {
            return Ok(page);
        }
        let mut bytes = vec![0; self.len as usize];
        self.file.read_exact_at(&mut bytes, self.at)?;
        let mut parts = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (frame, len) = frame::decode(rest).map_err(|_| io::ErrorKind::InvalidData)?;
            parts.push(frame.page);
            rest = &rest[len..];
        }
        let page = Page::concat(parts.iter()).ok_or(io::ErrorKind::InvalidData)?;
        let page = Arc::new(page);
        *loaded = Arc::downgrade(&page);
        Ok(page)
    }
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
