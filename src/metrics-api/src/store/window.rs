//! Which part of the data a question is about: a span of time, and which sites and services.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Error;
use deadpool_postgres::GenericClient;

const NOW: &str = include_str!("../sql/now.sql");

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Filter {
    /// Length of the window, the running minute included.
    pub minutes: u32,
    /// Codes of locations, sorted; all if there is none.
    #[serde(rename = "location")]
    pub locations: Vec<String>,
    /// Sorted; all if there is none.
    #[serde(rename = "service_type")]
    pub service_types: Vec<String>,
}

impl Filter {
    pub(super) fn sites(&self) -> Option<&[String]> {
        (!self.locations.is_empty()).then_some(&*self.locations)
    }

    pub(super) fn services(&self) -> Option<&[String]> {
        (!self.service_types.is_empty()).then_some(&*self.service_types)
    }
}

/// A span of time: whole minutes and what has passed of the running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    pub from: Timestamp,
    /// The newest full second; what the running minute holds counts in any case.
    pub until: Timestamp,
    pub minutes: u32,
    /// The end of the minute that is counted last.
    #[serde(skip)]
    end: Timestamp,
}

impl Window {
    /// The last `minutes`, the running one included.
    ///
    /// # Errors
    /// If the database does not say what time it is.
    pub async fn last(client: &impl GenericClient, minutes: u32) -> Result<Self, Error> {
        let now = client.prepare_cached(NOW).await?;
        let until: Timestamp = client.query_one(&now, &[]).await?.get(0);
        Ok(Self::ending(until, minutes))
    }

    fn ending(until: Timestamp, minutes: u32) -> Self {
        let running = minute_of(until);
        let from = running - SignedDuration::from_mins(i64::from(minutes) - 1);
        Self { from, until, minutes, end: running + SignedDuration::from_mins(1) }
    }

    /// The last minute that is over.
    ///
    /// # Errors
    /// As [`Window::last`].
    pub async fn last_complete(client: &impl GenericClient) -> Result<Self, Error> {
        let running = Self::last(client, 1).await?.from;
        let from = running - SignedDuration::from_mins(1);
        Ok(Self { from, until: running, minutes: 1, end: running })
    }

    /// The end of the minute that is counted last, the running one for the present.
    pub(super) fn end(&self) -> Timestamp {
        self.end
    }

    /// The span directly before, as long as this one has lasted so far.
    pub fn before(&self) -> Self {
        let from = self.from - self.length();
        Self { from, until: self.from, minutes: self.minutes, end: self.from }
    }

    /// The first full minute at or after its beginning.
    pub(super) fn first_full_minute(&self) -> Timestamp {
        let minute = minute_of(self.from);
        if minute == self.from { minute } else { minute + SignedDuration::from_mins(1) }
    }

    /// How long it has lasted so far.
    pub fn length(&self) -> SignedDuration {
        self.until.duration_since(self.from)
    }

    /// The hours that it touches, up to the moment in which it ends.
    pub fn hours(&self) -> Self {
        Self { from: hour_of(self.from), ..*self }
    }

    /// The end of the hour that is counted last.
    pub(super) fn end_of_hour(&self) -> Timestamp {
        let hour = hour_of(self.end);
        if hour == self.end { hour } else { hour + SignedDuration::from_hours(1) }
    }
}

fn hour_of(time: Timestamp) -> Timestamp {
    whole(time.as_second().div_euclid(3600) * 3600)
}

fn minute_of(time: Timestamp) -> Timestamp {
    whole(time.as_second().div_euclid(60) * 60)
}

fn whole(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_compared_with_as_much_time_before_it() {
        let window = Window::ending(at("2026-03-01T12:34:10Z"), 3);
        assert_eq!(window.from, at("2026-03-01T12:32:00Z"));
        assert_eq!(window.end(), at("2026-03-01T12:35:00Z"));
        let before = window.before();
        assert_eq!((before.from, before.until), (at("2026-03-01T12:29:50Z"), window.from));
        assert_eq!(before.first_full_minute(), at("2026-03-01T12:30:00Z"));
        assert_eq!(before.end(), window.from);
        assert_eq!(window.hours().from, at("2026-03-01T12:00:00Z"));
        assert_eq!(window.end_of_hour(), at("2026-03-01T13:00:00Z"));
        let full = Window::ending(at("2026-03-01T13:00:00Z"), 3);
        assert_eq!(full.end(), at("2026-03-01T13:01:00Z"), "the minute that has just begun counts");
        assert_eq!(full.end_of_hour(), at("2026-03-01T14:00:00Z"));
        assert_eq!(full.before().end(), full.from);
    }
}
