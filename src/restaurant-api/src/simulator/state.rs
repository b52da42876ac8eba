//! Everything the simulator remembers, and how it changes: what the log keeps beside the events,
//! so that a restart continues exactly behind the last event that was kept.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Event, Micros};

/// A guest who will answer later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When the answer comes, microseconds since 1970 (UTC).
    pub at: Micros,
    /// Number of the order in this epoch, from 0.
    pub order: u64,
    pub order_id: Uuid,
    pub site: u8,
}

/// The memory of a [`Simulator`](super::Simulator).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Orders made so far; the next one has this number.
    pub orders: u64,
    /// Ticks made so far.
    pub ticks: u64,
    /// Time of the latest event, microseconds since 1970 (UTC).
    pub last_ts: Micros,
    /// Feedback to come, soonest first.
    pub due: BTreeMap<(Micros, u64), Due>,
}

/// Events of one step and what they did to the state.
#[derive(Debug, Default)]
pub struct Step {
    pub events: Vec<Event>,
    pub added: Vec<Due>,
    pub removed: Vec<(Micros, u64)>,
    /// Guests not asked because too many answers were waiting already.
    pub not_asked: u64,
}

impl Step {
    pub fn clear(&mut self) {
        self.events.clear();
        self.added.clear();
        self.removed.clear();
        self.not_asked = 0;
    }
}

impl State {
    pub fn add(&mut self, due: Due) {
        self.due.insert((due.at, due.order), due);
    }
}
