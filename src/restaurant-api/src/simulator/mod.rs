//! A restaurant chain without clock or I/O: the caller says what time it is, the seed says what
//! happens. The same seed, epoch and times give the same events, byte for byte.

mod catalogue;
mod draw;
mod event;
mod order;
mod sites;
mod state;

use uuid::Uuid;

pub use catalogue::{Category, Item, menu};
pub use event::{Event, EventType, Payload};
pub use sites::{Meal, Site, sites};
pub use state::{Due, State, Step};

use draw::{Key, Purpose};
use sites::Meal as MealOfDay;

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// Answers that may wait at once. At the natural pace and 1 to 168 hours of delay about 160,000
/// wait; only a much faster pace with long delays meets this bound on memory (about 100 MB).
const MAX_DUE: usize = 1_000_000;

/// All zones differ by multiples of this, so within one such span no site's meal changes.
const QUARTER_HOUR: Micros = 15 * 60 * 1_000_000;

/// What a simulator is made of.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Decides the content of every order.
    pub seed: u64,
    /// Goes into every identifier, so that two lives of one seed never share one.
    pub epoch: Uuid,
    /// Shortest and longest time from an order to its feedback, in microseconds.
    pub feedback_delay: (Micros, Micros),
}

/// An epoch that follows from the seed, for output that must be reproducible.
pub fn epoch_of_seed(seed: u64) -> Uuid {
    Key::new(Purpose::Epoch, seed, Uuid::nil()).stream(0).uuid_v4()
}

/// The orders that arrive together, and the wait until the next ones may.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    pub orders: u32,
    pub pause: Micros,
}

struct Keys {
    ticks: Key,
    orders: Key,
    feedback: Key,
    order_ids: Key,
    feedback_ids: Key,
}

/// What the clocks of the sites say, kept for a quarter of an hour.
struct Calendar {
    quarter: i64,
    head_office: MealOfDay,
    meals: Vec<MealOfDay>,
    /// Chance of each site to get the next order, by its own meal.
    site_weights: Vec<u32>,
    /// Category weights at each site.
    category_weights: Vec<[u32; 13]>,
}

impl Calendar {
    fn at(now: Micros) -> Self {
        let meals: Vec<_> = sites().iter().map(|site| site.meal_at(now)).collect();
        Self {
            quarter: now.div_euclid(QUARTER_HOUR),
            // The tick's length needs one clock; the first site keeps it for the chain.
            head_office: meals[0],
            site_weights: meals.iter().map(|m| m.orders_per_megasecond()).collect(),
            category_weights: meals.iter().map(|m| catalogue::category_weights(*m)).collect(),
            meals,
        }
    }

    /// Mean orders of the chain per microsecond, the mean over its sites.
    fn orders_per_micro(&self) -> f64 {
        let sum: f64 = self.site_weights.iter().map(|w| f64::from(*w)).sum();
        sum / self.meals.len() as f64 / 1e12
    }
}

/// The chain at work.
pub struct Simulator {
    settings: Settings,
    keys: Keys,
    state: State,
    calendar: Calendar,
}

impl Simulator {
    /// A chain that opens now, or continues where `state` was left.
    pub fn new(settings: Settings, state: State) -> Self {
        let content = |purpose| Key::new(purpose, settings.seed, Uuid::nil());
        let identity = |purpose| Key::new(purpose, settings.seed, settings.epoch);
        Self {
            settings,
            keys: Keys {
                ticks: content(Purpose::Ticks),
                orders: content(Purpose::Orders),
                feedback: content(Purpose::Feedback),
                order_ids: identity(Purpose::OrderIds),
                feedback_ids: identity(Purpose::FeedbackIds),
            },
            calendar: Calendar::at(state.last_ts),
            state,
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// When the next feedback is due, if any waits.
    pub fn next_due(&self) -> Option<Micros> {
        self.state.due.keys().next().map(|(at, _)| *at)
    }

    /// How many guests arrive at `now`, and how long nothing happens after them.
    ///
    /// The count is Poisson with the mean of the sites' own meals.
    pub fn tick(&mut self, now: Micros) -> Tick {
        self.look_at_the_clock(now);
        let nominal = self.calendar.head_office.tick();
        let mut draw = self.keys.ticks.stream(self.state.ticks);
        self.state.ticks += 1;
        let pause = nominal * (600_000 + i64::from(draw.below(800_001))) / 1_000_000;
        let mean = self.calendar.orders_per_micro() * nominal as f64;
        Tick { orders: draw.poisson(mean), pause }
    }

    /// One whole order at `now`: created, its items, paid. Feedback may become due later.
    ///
    /// `now` must not lie before the latest event.
    pub fn order(&mut self, now: Micros, step: &mut Step) {
        self.look_at_the_clock(now);
        let number = self.state.orders;
        self.state.orders += 1;
        let mut draw = self.keys.orders.stream(number);
        let feedback = order::feedback_after(&mut draw, self.settings.feedback_delay);
        let mut ids = self.keys.order_ids.stream(number);
        let (order_id, site) =
            order::write(&mut draw, &mut ids, &self.calendar, now, &mut step.events);
        let Some(delay) = feedback else { return };
        if self.state.due.len() >= MAX_DUE {
            step.not_asked += 1;
            return;
        }
        let due = Due { at: now + delay, order: number, order_id, site };
        self.state.add(due);
        step.added.push(due);
    }

    /// The feedback that has waited longest, given at `now`; nothing if none waits.
    pub fn feedback(&mut self, now: Micros, step: &mut Step) {
        let Some((key, due)) = self.state.due.pop_first() else {
            return;
        };
        self.look_at_the_clock(now);
        step.removed.push(key);
        let mut draw = self.keys.feedback.stream(due.order);
        let mut ids = self.keys.feedback_ids.stream(due.order);
        step.events.push(order::feedback(&mut draw, &mut ids, now, &due));
    }

    /// Whether the guest of this order will ever answer: known before the order is made.
    pub fn will_answer(&self, order: u64) -> bool {
        let mut draw = self.keys.orders.stream(order);
        order::feedback_after(&mut draw, self.settings.feedback_delay).is_some()
    }

    fn look_at_the_clock(&mut self, now: Micros) {
        debug_assert!(now >= self.state.last_ts, "time went back");
        self.state.last_ts = now;
        if now.div_euclid(QUARTER_HOUR) != self.calendar.quarter {
            self.calendar = Calendar::at(now);
        }
    }
}
