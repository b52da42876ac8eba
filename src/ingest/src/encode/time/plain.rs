//! The spelling that most feeds use, `2026-01-15T17:00:20.532680Z`, read without ceremony. What is
//! not spelled so, or is no time at all, is left to the caller's full reader.

use super::{DAY, SECOND};

/// Days since 2000 of the date at the beginning, in the years 1 to 9999, and the text behind it.
#[inline]
pub(super) fn day(text: &[u8]) -> Option<(i32, &[u8])> {
    let [a, b, c, d, b'-', e, f, b'-', g, h, rest @ ..] = text else { return None };
    let year = two(*a, *b)? * 100 + two(*c, *d)?;
    let (month, day) = (two(*e, *f)?, two(*g, *h)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1 || !(1..=12).contains(&month) || !(1..=longest).contains(&day) {
        return None;
    }
    // Years that begin in March end with the day that may be missing.
    let year = year - i32::from(month <= 2);
    let months = (month + 9) % 12;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (months * 153 + 2) / 5 + day - 1;
    /// The same count of 2000-01-01.
    const BEGIN: i32 = 1999 * 365 + 1999 / 4 - 1999 / 100 + 1999 / 400 + 306;
    Some((days - BEGIN, rest))
}

/// Microseconds since 2000 of the date and time at the beginning, and the text behind them.
#[inline]
pub(super) fn micros(text: &[u8]) -> Option<(i64, &[u8])> {
    let (day, rest) = day(text)?;
    let [b'T', a, b, b':', c, d, b':', e, f, rest @ ..] = rest else { return None };
    let (hour, minute, second) = (two(*a, *b)?, two(*c, *d)?, two(*e, *f)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Some((i64::from(day) * DAY + seconds * SECOND + i64::from(fraction), rest))
}

/// Up to six digits behind the point as microseconds.
#[inline]
fn fraction(text: &[u8]) -> Option<(i32, &[u8])> {
    if let [a, b, c, d, e, f, rest @ ..] = text
        && let (Some(high), Some(middle), Some(low)) = (two(*a, *b), two(*c, *d), two(*e, *f))
    {
        let more = rest.first().is_some_and(u8::is_ascii_digit);
        return (!more).then_some((high * 10_000 + middle * 100 + low, rest));
    }
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(count);
    let value = digits.iter().fold(0, |value, digit| value * 10 + i32::from(digit - b'0'));
    (1..6).contains(&count).then(|| (value * 10_i32.pow(6 - count as u32), rest))
}

/// Seconds east of Greenwich: `Z` or `±HH:MM` and nothing else.
#[inline]
pub(super) fn offset_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, [a, b, b':', c, d]) = (match zone {
        [b'Z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    }) else {
        return None;
    };
    let (hours, minutes) = (two(*a, *b)?, two(*c, *d)?);
    (hours <= 23 && minutes <= 59).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

#[inline(always)]
fn two(tens: u8, ones: u8) -> Option<i32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i32::from(tens) * 10 + i32::from(ones))
}
