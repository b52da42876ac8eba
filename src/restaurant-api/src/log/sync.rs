//! Moves written bytes from the page cache to the disk, beside the writer and not in its way.

use std::fs::File;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What an operating system crash can cost at most.
const INTERVAL: Duration = Duration::from_secs(1);

type Dirty = Arc<Mutex<Vec<Arc<File>>>>;

pub(super) struct Syncer {
    dirty: Dirty,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Syncer {
    pub(super) fn start() -> io::Result<Self> {
        let dirty = Dirty::default();
        let (stop, stopped) = mpsc::channel();
        let files = Arc::clone(&dirty);
        let thread = std::thread::Builder::new().name("log-sync".into()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                if let Err(error) = flush(&files) {
                    tracing::error!(%error, "cannot sync the event log; check the disk");
                }
            }
        })?;
        Ok(Self { dirty, stop, thread })
    }

    /// Remembers that `file` has bytes which are not on disk yet.
    pub(super) fn mark(&self, file: &Arc<File>) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if !dirty.iter().any(|known| Arc::ptr_eq(known, file)) {
            dirty.push(Arc::clone(file));
        }
    }

    /// Ends the thread and leaves nothing unsynced.
    pub(super) fn finish(self) -> io::Result<()> {
        drop(self.stop);
        let _ = self.thread.join();
        flush(&self.dirty)
    }
}

fn flush(dirty: &Dirty) -> io::Result<()> {
    let files = std::mem::take(&mut *dirty.lock().unwrap_or_else(PoisonError::into_inner));
    files.iter().try_for_each(|file| file.sync_data())
}
