//! The bounds of a run within its stream: which events lie before, in and behind them.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::{Limits, Until};

/// From when on and until when events are taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    from: Option<Timestamp>,
    until: Option<Until>,
    lateness: Duration,
}

/// Where an event lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Within,
    /// Passed over: it belongs to another run.
    Outside,
    /// Behind the end, and so far that nothing of this window can follow.
    Behind,
}

impl Window {
    pub(super) fn new(limits: &Limits, lateness_seconds: f64) -> Self {
        // Where the next run goes on behind this one, what comes late is its.
        let seconds = if limits.from.is_some() { lateness_seconds } else { 0.0 };
        let lateness = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Self { from: limits.from, until: limits.until, lateness }
    }

    /// Whether the time of events matters.
    pub(super) fn is_timed(&self) -> bool {
        self.from.is_some() || matches!(self.until, Some(Until::Time(_)))
    }

    /// Events without a readable time are within: better twice asked than lost.
    pub(super) fn place(&self, id: Option<i64>, time: Option<&str>) -> Place {
        if let (Some(Until::Offset(last)), Some(id)) = (self.until, id)
            && id > last
        {
            return Place::Behind;
        }
        let Some(time) = time.and_then(event_time) else { return Place::Within };
        match self.until {
            Some(Until::Time(end)) if time >= end => {
                let hopeless = end.checked_add(self.lateness).is_ok_and(|late| time >= late);
                if hopeless { Place::Behind } else { Place::Outside }
            }
            _ if self.from.is_some_and(|from| time < from) => Place::Outside,
            _ => Place::Within,
        }
    }

    /// Whether nothing that may still come can belong here: the offset has come, or the end has
    /// passed by the clock. Only for a source that has told us all it has.
    pub(super) fn has_passed(&self, position: i64, now: Timestamp) -> bool {
        match self.until {
            Some(Until::Offset(last)) => position >= last,
            Some(Until::Time(end)) => end.checked_add(self.lateness).is_ok_and(|late| now >= late),
            None => false,
        }
    }

    /// Whether the last wanted offset has been reached.
    pub(super) fn is_reached(&self, position: i64) -> bool {
        matches!(self.until, Some(Until::Offset(last)) if position >= last)
    }
}

/// The moment that a JSON value names: ISO 8601 with an offset, or a number since 1970 whose size
/// tells its unit.
pub(crate) fn event_time(json: &str) -> Option<Timestamp> {
    let text = json.trim_matches('"');
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let number: f64 = text.parse().ok()?;
    // Seconds reach 1e11 in the year 5138, milliseconds had passed it in 1973.
    let seconds = match number.abs() {
        size if size < 1e11 => number,
        size if size < 1e14 => number / 1e3,
        _ => number / 1e6,
    };
    Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_read_in_the_usual_forms() {
        let noon = time("2026-11-20T12:00:00Z");
        for json in [
            "\"2026-11-20T12:00:00Z\"",
            "\"2026-11-20T13:00:00.000+01:00\"",
            "1795176000",
            "1795176000.0",
            "\"1795176000\"",
            "1795176000000",
            "1795176000000000",
        ] {
            assert_eq!(event_time(json), Some(noon), "{json}");
        }
        assert_eq!(event_time("\"yesterday\""), None);
    }

    #[test]
    fn a_window_waits_for_what_comes_late() {
        let limits = Limits {
            from: Some(time("2026-11-20T12:00:00Z")),
            until: Some(Until::Time(time("2026-11-20T13:00:00Z"))),
            ..Limits::default()
        };
        let window = Window::new(&limits, 60.0);
        for (at, place) in [
            ("\"2026-11-20T11:59:59.999Z\"", Place::Outside),
            ("\"2026-11-20T12:00:00Z\"", Place::Within),
            ("\"2026-11-20T12:59:59.999Z\"", Place::Within),
            ("\"2026-11-20T13:00:00Z\"", Place::Outside),
            ("\"2026-11-20T13:01:00Z\"", Place::Behind),
            ("\"no time\"", Place::Within),
        ] {
            assert_eq!(window.place(Some(1), Some(at)), place, "{at}");
        }
        assert!(!window.has_passed(9, time("2026-11-20T13:00:59Z")));
        assert!(window.has_passed(9, time("2026-11-20T13:01:00Z")));
    }

    #[test]
    fn an_offset_is_the_last_one() {
        let until = Some(Until::Offset(7));
        let window = Window::new(&Limits { until, ..Limits::default() }, 0.0);
        assert_eq!(window.place(Some(7), None), Place::Within);
        assert_eq!(window.place(Some(8), None), Place::Behind);
        assert!(window.is_reached(7) && !window.is_reached(6));
    }
}
