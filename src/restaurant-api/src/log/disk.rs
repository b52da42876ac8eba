//! The data directory: segments, the identity of the log, and what a restart may trust.
//!
//! A killed process loses nothing that was visible, because bytes are the kernel's before they
//! are shown. A crashed operating system can lose the last second; since that may have been
//! served, the log then starts over under a new epoch.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::page::Page;
use super::segment::{self, Damage, Place, Segment};
use super::sync::Syncer;
use super::{Error, Retention};
use crate::simulator::{State, Step};

const IDENTITY: &str = "identity.json";
const RUNNING: &str = "running";
const LOCK: &str = "lock";

#[derive(Serialize, Deserialize)]
struct Identity {
    format: u32,
    epoch: Uuid,
    seed: u64,
}

/// The log on disk, open for writing.
pub(super) struct Disk {
    dir: PathBuf,
    active: Segment,
    syncer: Syncer,
    scratch: Vec<u8>,
    segment_events: u64,
    segment_bytes: u64,
    _lock: File,
}

/// What was found in the directory.
pub(super) struct Opened {
    pub(super) disk: Disk,
    pub(super) epoch: Uuid,
    pub(super) seed: u64,
    pub(super) state: State,
    /// Every frame with events, in order: first offset, events, bytes of blocks, place.
    pub(super) frames: Vec<(u64, usize, usize, Place)>,
}

impl Disk {
    pub(super) fn open(
        dir: &Path,
        seed: Option<u64>,
        retention: Retention,
        random: impl Fn() -> (u64, Uuid),
    ) -> Result<Opened, Error> {
        let failed = |doing| move |source| Error::io(doing, dir, source);
        fs::create_dir_all(dir).map_err(failed("create"))?;
        let lock = lock(dir)?;
        let stored = fs::read(dir.join(IDENTITY))
            .ok()
            .and_then(|text| serde_json::from_slice::<Identity>(&text).ok());
        let found = recover(dir, stored.is_some());
        if let Err(damage) = &found {
            tracing::warn!(
                "the event log in {} cannot be continued: {damage}; it starts over with a new epoch",
                dir.display()
            );
            for first in segments(dir).map_err(failed("list"))? {
                fs::remove_file(segment::path(dir, first)).map_err(failed("clear"))?;
            }
        }
        let (fresh_seed, fresh_epoch) = random();
        let stored_seed = stored.as_ref().map(|identity| identity.seed);
        if let (Some(asked), Some(stored), true) = (seed, stored_seed, found.is_ok())
            && asked != stored
        {
            return Err(Error::Seed { dir: dir.into(), stored, asked });
        }
        let identity = match (stored, &found) {
            (Some(identity), Ok(_)) => identity,
            _ => {
                let identity = Identity {
                    format: 1,
                    epoch: fresh_epoch,
                    seed: seed.or(stored_seed).unwrap_or(fresh_seed),
                };
                replace(dir, IDENTITY, &serde_json::to_vec(&identity).expect("plain data"))
                    .map_err(failed("write the identity of"))?;
                identity
            }
        };
        replace(dir, RUNNING, boot_id().unwrap_or_default().as_bytes())
            .map_err(failed("write to"))?;
        let Found { active, state, frames } = found.unwrap_or_default();
        let active = match active {
            Some(active) => active,
            None => Segment::create(dir, 1, &state).map_err(failed("start a segment in"))?,
        };
        let syncer = Syncer::start().map_err(failed("start syncing"))?;
        Ok(Opened {
            epoch: identity.epoch,
            seed: identity.seed,
            state,
            frames,
            disk: Self {
                dir: dir.into(),
                active,
                syncer,
                scratch: Vec::new(),
                segment_events: (retention.events / 8).max(1),
                segment_bytes: (retention.bytes / 8).clamp(1 << 16, 1 << 25),
                _lock: lock,
            },
        })
    }

    pub(super) fn append(&mut self, page: &Page, step: &Step, state: &State) -> io::Result<Place> {
        let place = self.active.append(page, step, state, &mut self.scratch)?;
        self.syncer.mark(self.active.file());
        Ok(place)
    }

    /// Starts the next segment if this one is full, and says whether it did. A segment repeats
    /// the whole state, so it must also outweigh it several times.
    pub(super) fn roll(&mut self, state: &State) -> io::Result<bool> {
        let (frames, head) = self.active.sizes();
        let full = self.active.events >= self.segment_events || frames >= self.segment_bytes;
        if !full || frames < 4 * head.saturating_sub(1 << 16) {
            return Ok(false);
        }
        let next = self.active.first + self.active.events;
        self.active = Segment::create(&self.dir, next, state)?;
        self.syncer.mark(self.active.file());
        Ok(true)
    }

    /// Forgets a segment. Readers that hold it may finish.
    pub(super) fn remove(&self, first: u64) {
        let path = segment::path(&self.dir, first);
        if let Err(error) = fs::remove_file(&path) {
            tracing::error!(%error, "cannot remove {}; it uses space until removed by hand", path.display());
        }
    }

    /// Everything on disk, and the mark of a clean end.
    pub(super) fn close(self) -> io::Result<()> {
        self.syncer.finish()?;
        File::open(&self.dir)?.sync_all()?;
        fs::remove_file(self.dir.join(RUNNING))
    }
}

#[derive(Default)]
struct Found {
    active: Option<Segment>,
    state: State,
    frames: Vec<(u64, usize, usize, Place)>,
}

fn recover(dir: &Path, identified: bool) -> Result<Found, Damage> {
    let firsts = segments(dir)?;
    if firsts.is_empty() {
        return if identified && fs::exists(dir.join(RUNNING))? {
            Err(Damage::History("its segments are gone".into()))
        } else {
            Ok(Found::default())
        };
    }
    if !identified {
        return Err(Damage::History("its identity is gone".into()));
    }
    let was_running = fs::read_to_string(dir.join(RUNNING)).ok();
    if let (Some(before), Some(now)) = (&was_running, boot_id())
        && !before.is_empty()
        && *before != now
    {
        let why = "the machine went down while it was written";
        return Err(Damage::History(why.into()));
    }
    let mut found = Found::default();
    let mut expected = firsts[0];
    for (index, first) in firsts.iter().enumerate() {
        if *first != expected {
            let why = format!("the segment of offset {expected} is gone");
            return Err(Damage::History(why));
        }
        let last = index + 1 == firsts.len();
        let mut state = State::default();
        let recovered = Segment::recover(dir, *first, |frame, place| {
            frame.apply(&mut state);
            if frame.len() > 0 {
                found.frames.push((frame.first, frame.len(), frame.blocks.len(), place));
            }
        })?;
        match recovered {
            Some((segment, torn)) => {
                if torn && !last {
                    let why = format!("the segment of offset {first} ends too early");
                    return Err(Damage::History(why));
                }
                if torn {
                    tracing::info!("cut an unfinished append off the event log");
                }
                expected += segment.events;
                found.active = Some(segment);
                found.state = state;
            }
            // Killed while the segment was born: nothing was in it yet.
            None if last => fs::remove_file(segment::path(dir, *first))?,
            None => {
                let why = format!("the segment of offset {first} is empty");
                return Err(Damage::History(why));
            }
        }
    }
    if found.active.is_none() && expected != 1 {
        return Err(Damage::History("its only segment is empty".into()));
    }
    Ok(found)
}

/// First offsets of the segments in the directory, ascending.
fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        if let Some(first) = number.and_then(|digits| digits.parse().ok()) {
            firsts.push(first);
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

fn lock(dir: &Path) -> Result<File, Error> {
    let file = File::create(dir.join(LOCK)).map_err(|source| Error::io("lock", dir, source))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { dir: dir.into() }),
        Err(errno) => Err(Error::io("lock", dir, errno.into())),
    }
}

/// Writes a small file so that either the old or the new content is there, never a part.
fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = dir.join(format!("{name}.new"));
    fs::write(&draft, content)?;
    File::open(&draft)?.sync_all()?;
    fs::rename(&draft, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// Changes with every start of the machine; unknown where the kernel does not tell, and then a
/// crash of the machine cannot be told from a killed process.
fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().into())
}
