//! The live stream: one room for each filter, whose figures are computed once for all its clients.

mod message;
mod room;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

pub use message::{Batch, Kind, Message};
pub use room::{Listener, Next};

use crate::listener::Commits;
use crate::sampler::Sampler;
use crate::store::{Filter, Store};
use crate::token::Role;
use room::Room;

/// What all rooms share.
pub struct Hub {
    store: Store,
    sampler: Arc<Sampler>,
    commits: Commits,
    limits: Limits,
    rooms: Mutex<HashMap<(Filter, Role), Arc<Room>>>,
    /// Rooms that ask the database at once: the other sessions stay for requests.
    turns: Semaphore,
    stop: watch::Receiver<bool>,
    /// Makes ids of this process differ from those of the one before.
    boot: u64,
    counts: Counts,
}

/// Bounds of the live stream.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub clients: usize,
    pub filters: usize,
    /// Shortest time between two messages of figures.
    pub interval: Duration,
    /// Rooms that may ask the database at once.
    pub turns: usize,
}

/// Numbers since the start, and those of now.
#[derive(Default)]
pub struct Counts {
    pub clients: AtomicUsize,
    pub batches: AtomicU64,
    pub evicted: AtomicU64,
    /// Of all connections, not of /live alone.
    pub cut_off: Arc<AtomicU64>,
    pub resumed: AtomicU64,
    rooms_made: AtomicU64,
}

/// Why a client cannot listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Clients,
    Filters,
}

impl Hub {
    pub fn new(
        store: Store,
        sampler: Arc<Sampler>,
        commits: Commits,
        limits: Limits,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let mut boot = [0; 4];
        // Without randomness ids are those of the start before: a client may miss what it asks for,
        // and gets the whole state.
        let _ = getrandom::fill(&mut boot);
        Arc::new(Self {
            store,
            sampler,
            commits,
            limits,
            rooms: Mutex::default(),
            turns: Semaphore::new(limits.turns),
            stop,
            boot: u64::from(u32::from_le_bytes(boot)),
            counts: Counts::default(),
        })
    }

    /// A place in the room of a filter, which is made if it is not there. With the id of the last
    /// message that a client has, it gets what it missed, or the whole state if that is not kept.
    ///
    /// # Errors
    /// If there are too many clients or filters already.
    pub fn join(
        self: &Arc<Self>,
        filter: &Filter,
        role: Role,
        after: Option<&str>,
    ) -> Result<Listener, Full> {
        let most = self.limits.clients;
        let room_for_one = |clients| (clients < most).then_some(clients + 1);
        let counted = self.counts.clients.fetch_update(Relaxed, Relaxed, room_for_one);
        counted.map_err(|_| Full::Clients)?;
        let guard = Counted(Arc::clone(self));
        let key = (filter.clone(), role);
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = match rooms.get(&key) {
            Some(room) => Arc::clone(room),
            None if rooms.len() >= self.limits.filters => return Err(Full::Filters),
            None => {
                let number = self.counts.rooms_made.fetch_add(1, Relaxed);
                let boot = format!("{:08x}{number:x}", self.boot);
                let room = Arc::new(Room::new(boot, filter.clone(), role, self.limits.interval));
                tokio::spawn(Arc::clone(&room).run(Arc::clone(self)));
                rooms.insert(key, Arc::clone(&room));
                room
            }
        };
        // Under the lock, so that an empty room is not removed between the two.
        Ok(room.join(after, guard))
    }

    /// Removes a room that nobody is in; false if somebody is.
    fn close(&self, room: &Room) -> bool {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if room.occupied() {
            return false;
        }
        rooms.remove(&(room.filter.clone(), room.role));
        true
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn filters(&self) -> usize {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Counts a client for as long as it lives.
pub struct Counted(Arc<Hub>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counts.clients.fetch_sub(1, Relaxed);
    }
}
