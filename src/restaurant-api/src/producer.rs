//! Real time: asks the simulator for what happens now and appends it to the log, on a thread of
//! its own because files and a fixed pace know no `await`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::http::Metrics;
use crate::log::Log;
use crate::simulator::{Micros, Simulator, Step};

/// How fast events come. None of these touches the times on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The rhythm of the day, this many times as fast.
    Natural(f64),
    /// Events per second.
    Fixed(f64),
    /// No waiting at all.
    Max,
    /// No events.
    Still,
}

/// Events appended at once, at most (and the rest of an order).
const MAX_STEP: usize = 512;
/// A fixed pace wakes no more often than this. Events are stamped when they are emitted, so
/// waiting makes none of them late.
const SLICE: Duration = Duration::from_millis(10);
/// Every append is a write to every client that has caught up, at about 6 microseconds here and as
/// much again where it is read. This much rest for each keeps a crowd from living on wakes alone:
/// 1,000 clients get what came within 50 ms at once, and a lonely event still leaves at once.
const REST_PER_CLIENT: Duration = Duration::from_micros(50);
/// After a longer stall (a machine that slept) nobody wants all of it made up for.
const MAX_BEHIND: Duration = Duration::from_secs(60);

pub struct Producer {
    pub simulator: Simulator,
    pub log: Arc<Log>,
    pub metrics: Arc<Metrics>,
    pub pace: Pace,
}

/// Where a pace stands.
struct Progress {
    /// Natural: the time of the next tick. Fixed: the time from which `events` are counted.
    from: Instant,
    events: u64,
}

impl Producer {
    /// Produces until `stop` hears something or hangs up.
    pub fn run(mut self, stop: &Receiver<()>) {
        let mut step = Step::default();
        let mut progress = Progress { from: Instant::now(), events: 0 };
        loop {
            step.clear();
            let wait = match self.pace {
                Pace::Natural(rate) => self.natural(rate, &mut progress, &mut step),
                Pace::Fixed(per_second) => self.fixed(per_second, &mut progress, &mut step),
                Pace::Max => self.max(&mut step),
                Pace::Still => Duration::MAX,
            };
            if !self.append(&step, stop) {
                return;
            }
            // Who is behind its pace catches up first.
            let tired = !step.events.is_empty() && !wait.is_zero();
            let wait = if tired { wait.max(self.rest()) } else { wait };
            match stop.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Due feedback first, then the ticks that have come.
    fn natural(&mut self, rate: f64, progress: &mut Progress, step: &mut Step) -> Duration {
        let now = self.now();
        while step.events.len() < MAX_STEP && self.simulator.next_due().is_some_and(|d| d <= now) {
            self.simulator.feedback(now, step);
        }
        let clock = Instant::now();
        progress.from = progress.from.max(clock.checked_sub(MAX_BEHIND).unwrap_or(clock));
        while step.events.len() < MAX_STEP && progress.from <= clock {
            let tick = self.simulator.tick(now);
            for _ in 0..tick.orders {
                self.simulator.order(now, step);
            }
            progress.from += Duration::from_micros(tick.pause as u64).div_f64(rate);
        }
        let tick = progress.from.saturating_duration_since(Instant::now());
        let due = self.simulator.next_due().map(|due| (due - now).max(0) as u64);
        due.map_or(tick, |due| tick.min(Duration::from_micros(due)))
    }

    /// As many events as the time since the start allows; feedback and orders take turns, so that
    /// neither a backlog of answers nor new guests can starve the other.
    fn fixed(&mut self, per_second: f64, progress: &mut Progress, step: &mut Step) -> Duration {
        let now = self.now();
        let clock = Instant::now();
        let behind = (clock - progress.from)
            .saturating_sub(Duration::from_secs_f64(progress.events as f64 / per_second));
        progress.from += behind.saturating_sub(MAX_BEHIND);
        let budget = (clock - progress.from).as_secs_f64() * per_second;
        let before = progress.events;
        while step.events.len() < MAX_STEP && ((before + step.events.len() as u64) as f64) < budget
        {
            if self.simulator.next_due().is_some_and(|due| due <= now) {
                self.simulator.feedback(now, step);
            }
            self.simulator.order(now, step);
        }
        progress.events += step.events.len() as u64;
        let next = Duration::from_secs_f64((progress.events + 1) as f64 / per_second);
        let wait = (progress.from + next).saturating_duration_since(Instant::now());
        if wait.is_zero() { wait } else { wait.max(SLICE) }
    }

    fn max(&mut self, step: &mut Step) -> Duration {
        let now = self.now();
        while step.events.len() < MAX_STEP {
            if self.simulator.next_due().is_some_and(|due| due <= now) {
                self.simulator.feedback(now, step);
            }
            self.simulator.order(now, step);
        }
        Duration::ZERO
    }

    /// How long the clients are left alone after an append.
    fn rest(&self) -> Duration {
        REST_PER_CLIENT * u32::try_from(self.metrics.clients()).unwrap_or(u32::MAX)
    }

    /// Appends, waiting for a disk that refuses; false if told to stop meanwhile.
    fn append(&self, step: &Step, stop: &Receiver<()>) -> bool {
        loop {
            match self.log.append(step, self.simulator.state()) {
                Ok(bytes) => {
                    self.metrics.stall(false);
                    let due = self.simulator.state().due.len();
                    let events = step.events.len();
                    self.metrics.generated(events, bytes, due, step.not_asked);
                    return true;
                }
                Err(error) => {
                    self.metrics.stall(true);
                    tracing::error!(%error, "cannot append to the event log; trying again in 1 s");
                }
            }
            match stop.recv_timeout(Duration::from_secs(1)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Wall time, which never runs back here even if somebody sets the clock.
    fn now(&self) -> Micros {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = wall.map_or(0, |since| since.as_micros() as Micros);
        wall.max(self.simulator.state().last_ts)
    }
}
