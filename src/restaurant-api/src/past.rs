//! Simulated time: what happened at the chain since a moment, as fast as it can be told.

use crate::simulator::{Micros, Simulator, Step};

/// The chain between a start and the present of a story.
pub struct Past {
    simulator: Simulator,
    now: Micros,
    rate: f64,
}

impl Past {
    /// The story from `start` on, or from the simulator's latest event if that is later. At a
    /// `rate` of 2 twice as many guests come in the same time.
    pub fn new(simulator: Simulator, start: Micros, rate: f64) -> Self {
        let now = start.max(simulator.state().last_ts);
        Self { simulator, now, rate }
    }

    /// Adds the answers that have become due and the guests of one tick to `step`, and lets time
    /// pass until the next tick.
    pub fn advance(&mut self, step: &mut Step) {
        while let Some(due) = self.simulator.next_due().filter(|due| *due <= self.now) {
            // What is due since before the start of this part of the story comes at its start.
            let at = due.max(self.simulator.state().last_ts);
            self.simulator.feedback(at, step);
        }
        let tick = self.simulator.tick(self.now);
        for _ in 0..tick.orders {
            self.simulator.order(self.now, step);
        }
        self.now += ((tick.pause as f64 / self.rate) as i64).max(1);
    }

    /// Time of the next tick.
    pub fn now(&self) -> Micros {
        self.now
    }

    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }
}
