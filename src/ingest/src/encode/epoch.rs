//! Time counted since 1970 into PostgreSQL's times.

use super::{Kind, Misfit, put, time};

const NEEDED: Misfit = Misfit::Type { needed: "a number of the time since 1970" };
const OUTSIDE: Misfit = Misfit::Range { why: "outside of the calendar" };

/// Appends a time, written as a decimal number of units of `10^power` microseconds. Finer parts are rounded to the
/// nearest microsecond, halves to even; a date takes midnights (UTC) only.
pub(super) fn put_epoch(
    out: &mut Vec<u8>,
    kind: Kind,
    number: &str,
    power: i32,
) -> Result<(), Misfit> {
    let micros = micros(number, power)?;
    let micros = micros.checked_sub(time::MICROS_TO_2000).ok_or(OUTSIDE)?;
    if !time::RANGE.contains(&micros) {
        return Err(OUTSIDE);
    }
    match kind {
        Kind::Date if micros % time::DAY != 0 => {
            Err(Misfit::Range { why: "a time of day, which a date cannot hold" })
        }
        Kind::Date => put(out, &((micros / time::DAY) as i32).to_be_bytes()),
        _ => put(out, &micros.to_be_bytes()),
    }
}

/// The number times `10^power`, as microseconds.
fn micros(number: &str, power: i32) -> Result<i64, Misfit> {
    let (negative, rest) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent: i32 = exponent.parse().map_err(|_| NEEDED)?;
    if !digits(whole) || !digits(fraction) {
        return Err(NEEDED);
    }
    let fraction = fraction.trim_end_matches('0');
    let number: i128 = format!("{whole}{fraction}").parse().map_err(|_| OUTSIDE)?;
    let power = i64::from(exponent) + i64::from(power) - fraction.len() as i64;
    let value = scale(number, power).ok_or(OUTSIDE)?;
    i64::try_from(if negative { -value } else { value }).map_err(|_| OUTSIDE)
}

/// `number * 10^power`, rounded half to even.
fn scale(number: i128, power: i64) -> Option<i128> {
    if number == 0 {
        return Some(0);
    }
    let size = u32::try_from(power.unsigned_abs()).ok().filter(|size| *size <= 38);
    let factor = size.map(|size| 10_i128.pow(size));
    match (power >= 0, factor) {
        (true, factor) => number.checked_mul(factor?),
        (false, None) => Some(0),
        (false, Some(factor)) => {
            let (whole, rest) = (number / factor, number % factor);
            let up = match (rest * 2).cmp(&factor) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => whole % 2,
                std::cmp::Ordering::Greater => 1,
            };
            Some(whole + up)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_the_nearest_microsecond() {
        for (number, power, expected) in [
            ("1767225600", 6, 1_767_225_600_000_000),
            ("1767225600.1234567", 6, 1_767_225_600_123_457),
            ("1.7672256001e9", 6, 1_767_225_600_100_000),
            ("1767225600123", 3, 1_767_225_600_123_000),
            ("-1.5", 0, -2),
            ("2.5", 0, 2),
            ("2500", -3, 2),
            ("2501", -3, 3),
            ("1e-300", 6, 0),
            ("0e400", 6, 0),
        ] {
            assert_eq!(micros(number, power), Ok(expected), "{number}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for number in ["", "-", "1.", ".5", "1e", "0x10", "1_0", "now", "1e9.5", " 1", "+1"] {
            assert_eq!(micros(number, 6), Err(NEEDED), "{number:?}");
        }
        for number in ["1e40", "99999999999999999999999999999999999999999999", "1e2000000000"] {
            assert_eq!(micros(number, 6), Err(OUTSIDE), "{number:?}");
        }
        let mut out = Vec::new();
        for number in ["9224318016000", "-210866803201"] {
            assert_eq!(put_epoch(&mut out, Kind::Timestamptz, number, 6), Err(OUTSIDE), "{number}");
        }
        assert!(put_epoch(&mut out, Kind::Date, "86401", 6).is_err());
        assert!(out.is_empty());
        assert!(put_epoch(&mut out, Kind::Date, "-86400", 6).is_ok());
        assert_eq!(out, [0, 0, 0, 4, 0xff, 0xff, 0xd5, 0x32]);
    }
}
