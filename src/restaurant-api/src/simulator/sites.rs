//! The twelve sites, and what meal it is at each of them.

use std::sync::LazyLock;

use chrono::{DateTime, Timelike};
use chrono_tz::Tz;
use serde::Deserialize;

use super::Micros;

/// A restaurant of the chain.
#[derive(Debug, Deserialize)]
pub struct Site {
    /// Location code, the partition key of its events.
    pub code: String,
    pub name: String,
    pub city: String,
    pub latitude: f64,
    pub longitude: f64,
    /// IANA name; the site's meals follow this clock.
    pub time_zone: Tz,
}

static SITES: LazyLock<Vec<Site>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../../tests/fixtures/sites.json"))
        .expect("the embedded list of sites is checked by a test")
});

/// All sites, in the order in which events number them.
pub fn sites() -> &'static [Site] {
    &SITES
}

/// Part of the day that decides how many guests come and what they eat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meal {
    Morning,
    Midday,
    Evening,
    Other,
}

impl Meal {
    /// The meal of a local hour, 0 to 23.
    pub fn of_hour(hour: u32) -> Self {
        match hour {
            6..=10 => Self::Morning,
            11..=14 => Self::Midday,
            17..=22 => Self::Evening,
            _ => Self::Other,
        }
    }

    /// Nominal length of a tick in microseconds.
    pub(super) fn tick(self) -> Micros {
        match self {
            Self::Morning => 1_200_000,
            Self::Midday => 900_000,
            Self::Evening => 600_000,
            Self::Other => 1_500_000,
        }
    }

    /// Mean number of orders of the whole chain in a tick of nominal length.
    fn orders_per_tick(self) -> f64 {
        match self {
            Self::Midday => 2.0,
            Self::Evening => 3.0,
            Self::Morning | Self::Other => 1.0,
        }
    }

    /// Orders of the whole chain per million seconds: the unit in which sites are weighed.
    pub(super) fn orders_per_megasecond(self) -> u32 {
        (self.orders_per_tick() * 1e12 / self.tick() as f64) as u32
    }
}

impl Site {
    /// The meal at this site at a moment (microseconds since 1970, UTC).
    pub fn meal_at(&self, at: Micros) -> Meal {
        let hour = DateTime::from_timestamp_micros(at)
            .map_or(0, |utc| utc.with_timezone(&self.time_zone).hour());
        Meal::of_hour(hour)
    }
}
