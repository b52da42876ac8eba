//! ISO 8601 text to PostgreSQL's days and microseconds since 2000, exact or refused: nothing that
//! was written is dropped, such as an offset in a column without one.

mod plain;

use jiff::civil::{Date, Time, date};
use jiff::fmt::temporal::Pieces;

use super::Misfit;

const SECOND: i64 = 1_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;
const SECONDS_TO_2000: i64 = 946_684_800;
pub(super) const MICROS_TO_2000: i64 = SECONDS_TO_2000 * SECOND;
/// PostgreSQL's calendar begins on 4714-11-24 BC.
const FIRST_DAY: i64 = -2_451_545;
/// The microseconds since 2000 that PostgreSQL's times can be.
pub(super) const RANGE: std::ops::Range<i64> = FIRST_DAY * DAY..9_223_371_331_200_000_000;
const OUTSIDE: Misfit = Misfit::Range { why: "before the calendar begins" };

/// Days since 2000-01-01 of a date without a time.
pub(super) fn days(text: &str) -> Result<i32, Misfit> {
    if let Some((days, b"")) = plain::day(text.as_bytes()) {
        return Ok(days);
    }
    any_days(text)
}

fn any_days(text: &str) -> Result<i32, Misfit> {
    let needed = Misfit::Type { needed: "an ISO 8601 date and no time" };
    let pieces = Pieces::parse(text).map_err(|_| needed)?;
    if pieces.time().is_some() || is_placed(&pieces) {
        return Err(needed);
    }
    i32::try_from(days_since_2000(pieces.date())?).map_err(|_| OUTSIDE)
}

/// Microseconds since 2000 of a time without an offset.
pub(super) fn local_micros(text: &str) -> Result<i64, Misfit> {
    if let Some((micros, b"")) = plain::micros(text.as_bytes()) {
        return Ok(micros);
    }
    any_local_micros(text)
}

fn any_local_micros(text: &str) -> Result<i64, Misfit> {
    let needed = Misfit::Type { needed: "an ISO 8601 time without an offset" };
    let pieces = Pieces::parse(text).map_err(|_| needed)?;
    if is_placed(&pieces) {
        return Err(needed);
    }
    let time = pieces.time().unwrap_or(Time::midnight());
    checked(days_since_2000(pieces.date())? * DAY + micros_of_day(time, text)?)
}

/// Microseconds since 2000, UTC, of a time with an offset.
pub(super) fn micros(text: &str) -> Result<i64, Misfit> {
    if let Some((micros, zone)) = plain::micros(text.as_bytes())
        && let Some(offset) = plain::offset_seconds(zone)
    {
        return Ok(micros - offset * SECOND);
    }
    any_micros(text)
}

fn any_micros(text: &str) -> Result<i64, Misfit> {
    let needed = Misfit::Type { needed: "an ISO 8601 time with an offset" };
    let pieces = Pieces::parse(text).map_err(|_| needed)?;
    let (Some(time), Some(offset)) = (pieces.time(), pieces.to_numeric_offset()) else {
        return Err(needed);
    };
    let local = days_since_2000(pieces.date())? * DAY + micros_of_day(time, text)?;
    checked(local - i64::from(offset.seconds()) * SECOND)
}

/// Microseconds since 2000 of a point in time.
pub(super) fn micros_since_2000(time: jiff::Timestamp) -> Result<i64, Misfit> {
    let (mut second, mut nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        (second, nanos) = (second - 1, nanos + 1_000_000_000);
    }
    checked((second - SECONDS_TO_2000) * SECOND + round(nanos))
}

fn is_placed(pieces: &Pieces<'_>) -> bool {
    pieces.offset().is_some() || pieces.time_zone_annotation().is_some()
}

fn checked(micros: i64) -> Result<i64, Misfit> {
    if micros < FIRST_DAY * DAY { Err(OUTSIDE) } else { Ok(micros) }
}

fn days_since_2000(day: Date) -> Result<i64, Misfit> {
    let days = day.duration_since(date(2000, 1, 1)).as_secs() / 86_400;
    if days < FIRST_DAY { Err(OUTSIDE) } else { Ok(days) }
}

fn micros_of_day(time: Time, text: &str) -> Result<i64, Misfit> {
    let minutes = i64::from(time.hour()) * 60 + i64::from(time.minute());
    let mut second = minutes * 60 + i64::from(time.second());
    let nanos = time.subsec_nanosecond();
    if time.second() == 59 && is_leap_second(text) {
        // PostgreSQL takes it for the first second of the next minute, and only as a whole.
        if nanos != 0 {
            return Err(Misfit::Range { why: "a fraction of a leap second" });
        }
        second += 1;
    }
    Ok(second * SECOND + round(nanos))
}

/// Nanoseconds to microseconds, in doubles and with ties to even, as PostgreSQL reads a fraction.
fn round(nanos: i32) -> i64 {
    match nanos % 1000 {
        0 => i64::from(nanos / 1000),
        _ => (f64::from(nanos) / 1e9 * 1e6).round_ties_even() as i64,
    }
}

/// Whether a text whose second was read as 59 wrote 60.
fn is_leap_second(text: &str) -> bool {
    let clock = text.split_once(['T', 't', ' ']).map_or("", |(_, clock)| clock);
    clock.bytes().filter(u8::is_ascii_digit).skip(4).take(2).eq(*b"60")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What both readers say of a text: the fast one nothing, or the same.
    fn compare(text: &str) -> Result<bool, TestCaseError> {
        let mut fast = 0;
        if let Some((days, rest)) = plain::day(text.as_bytes())
            && rest.is_empty()
        {
            fast += 1;
            prop_assert_eq!(Ok(days), any_days(text), "{}", text);
        }
        if let Some((micros, rest)) = plain::micros(text.as_bytes()) {
            if rest.is_empty() {
                fast += 1;
                prop_assert_eq!(Ok(micros), any_local_micros(text), "{}", text);
            }
            if let Some(offset) = plain::offset_seconds(rest) {
                fast += 1;
                prop_assert_eq!(Ok(micros - offset * SECOND), any_micros(text), "{}", text);
            }
        }
        Ok(fast > 0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn the_fast_way_reads_what_the_full_one_does(
            text in "(0000|0001|[0-9]{4}|1900|2000|2024)-(02|0[0-9]|1[0-3])-(0[0-9]|[12][0-9]|28|29|3[0-2])(T([01][0-9]|2[0-4]):[0-6][0-9]:([0-5][0-9]|60)(\\.[0-9]{0,10})?(Z|[+-][0-2][0-9]:?[0-6][0-9])?)?",
        ) {
            compare(&text)?;
        }

        #[test]
        fn every_day_and_microsecond_goes_the_fast_way(
            seconds in -62_135_596_800i64..=253_402_207_200,
            nanos in 0i32..1_000_000,
            digits in 0usize..=6,
        ) {
            let time = jiff::Timestamp::new(seconds, nanos * 1000).unwrap();
            let text = if digits == 0 { format!("{time:.6}") } else { time.to_string() };
            prop_assert!(compare(&text)?, "{} is read by the full reader alone", text);
            prop_assert!(compare(&text[..10])?);
        }

        #[test]
        fn damage_is_left_to_the_full_reader(at in 0usize..32, byte in 0u8..0x80) {
            let mut text = b"2026-02-28T23:59:59.123456+05:30".to_vec();
            text[at] = byte;
            compare(std::str::from_utf8(&text).unwrap())?;
        }
    }
}
