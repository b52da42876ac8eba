//! How long to wait before the next attempt. Pure arithmetic: chance comes in as a number.

use std::time::{Duration, SystemTime};

use super::Backoff;

/// No server can make a client sleep longer than this.
const LONGEST_SERVER_WAIT: Duration = Duration::from_secs(300);

/// The wait after `failures` consecutive failures; 0 after a connection that simply ended.
/// `retry` is the server's standing wish, `retry_after` the one in the last answer; the latter
/// is a lower bound. `chance` is uniform in 0..1.
pub(super) fn wait(
    backoff: &Backoff,
    failures: u32,
    retry: Option<Duration>,
    retry_after: Option<Duration>,
    chance: f64,
) -> Duration {
    let share = backoff.jitter.clamp(0.0, 1.0) * chance;
    let shorter = |wait: Duration| wait.mul_f64(1.0 - share);
    let longer = |wait: Duration| wait.min(LONGEST_SERVER_WAIT).mul_f64(1.0 + share / 2.0);

    let doublings = failures.saturating_sub(1).min(20);
    let own = match retry {
        // A client must never come back earlier than it was told to.
        Some(retry) if doublings == 0 => longer(retry),
        Some(retry) => {
            let retry = retry.clamp(backoff.floor, LONGEST_SERVER_WAIT);
            shorter(retry.saturating_mul(1 << doublings).min(backoff.max.max(retry))).max(retry)
        }
        None => shorter(backoff.initial.saturating_mul(1 << doublings).min(backoff.max)),
    };
    own.max(retry_after.map_or(Duration::ZERO, longer)).max(backoff.floor)
}

/// The wait a `Retry-After` header asks for: seconds or an HTTP date.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plain(failures: u32, retry: Option<Duration>, after: Option<Duration>) -> Duration {
        wait(&Backoff::default(), failures, retry, after, 0.0)
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let waits: Vec<u128> = [0, 1, 2, 3, 6, 7, 8, u32::MAX]
            .map(|failures| plain(failures, None, None).as_millis())
            .into();
        assert_eq!(waits, [500, 500, 1000, 2000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn a_server_wish_replaces_the_first_wait_within_bounds() {
        assert_eq!(plain(0, Some(3 * SECOND), None), 3 * SECOND);
        assert_eq!(plain(2, Some(3 * SECOND), None), 6 * SECOND);
        assert_eq!(plain(9, Some(60 * SECOND), None), 60 * SECOND);
        assert_eq!(plain(0, Some(Duration::ZERO), None), Duration::from_millis(100));
        assert_eq!(plain(0, Some(Duration::MAX), None), 300 * SECOND);
        assert_eq!(plain(5, Some(Duration::MAX), None), 300 * SECOND);
    }

    #[test]
    fn retry_after_is_a_lower_bound() {
        assert_eq!(plain(1, None, Some(7 * SECOND)), 7 * SECOND);
        assert_eq!(plain(7, None, Some(SECOND)), 30 * SECOND);
        assert_eq!(plain(1, None, Some(Duration::MAX)), 300 * SECOND);
    }

    #[test]
    fn chance_shortens_our_waits_and_lengthens_the_servers() {
        let backoff = Backoff::default();
        assert_eq!(wait(&backoff, 2, None, None, 1.0), SECOND / 2);
        assert_eq!(wait(&backoff, 0, Some(4 * SECOND), None, 1.0), 5 * SECOND);
        assert_eq!(wait(&backoff, 2, Some(4 * SECOND), None, 1.0), 4 * SECOND);
        assert_eq!(wait(&backoff, 1, None, Some(4 * SECOND), 1.0), 5 * SECOND);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Fri, 20 Nov 2026 18:00:00 GMT").unwrap();
        assert_eq!(retry_after(" 120 ", now), Some(120 * SECOND));
        assert_eq!(retry_after("Fri, 20 Nov 2026 18:00:09 GMT", now), Some(9 * SECOND));
        assert_eq!(retry_after("Fri, 20 Nov 2026 17:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(
            retry_after("99999999999999999999999", now),
            Some(Duration::from_secs(u64::MAX))
        );
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("", now), None);
    }
}
