//! What a column of some type must hold for a JSON value: the rules of the README once more, in
//! the plainest way.

use super::*;

/// Deeper JSON is refused by the engine, because PostgreSQL's own limit is one of its stack.
pub(crate) const MAX_DEPTH: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Null,
    /// The value as [`read::field`] shows it.
    Is(String),
    Refused,
    /// Not predicted here.
    Open,
}

use Expected::{Is, Null, Open, Refused};

/// For the text of a valid JSON value without white space around it.
pub(crate) fn value(of: Type, json: &str) -> Expected {
    if of == JSON || of == JSONB {
        let odd = json::oddities(json);
        let refused = odd.depth > MAX_DEPTH || of == JSONB && (odd.nul || odd.lone_surrogate);
        return if refused { Refused } else { Is(json.into()) };
    }
    if json == "null" {
        return Null;
    }
    let string = json.starts_with('"').then(|| serde_json::from_str::<String>(json));
    if let Some(Err(_)) = string {
        return Refused;
    }
    let string = string.and_then(Result::ok);
    let number = json.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    match (of, string) {
        (Type(1700, _), Some(string)) => decimal(of, &string),
        (Type(1700, _), None) if number => decimal(of, json),
        (BOOL, _) if json == "true" || json == "false" => Is(json.into()),
        (INT2, _) => integer(json, i16::MIN.into(), i16::MAX.into()),
        (INT4, _) => integer(json, i32::MIN.into(), i32::MAX.into()),
        (INT8, _) => integer(json, i64::MIN.into(), i64::MAX.into()),
        (FLOAT4 | FLOAT8, None) if number => float(of, json),
        (TEXT, Some(string)) => chars(&string, usize::MAX),
        (VARCHAR_5, Some(string)) => chars(&string, 5),
        (CHAR_3, Some(string)) => chars(&string, 3),
        (UUID, Some(string)) => uuid(&string),
        (TIMESTAMPTZ | TIMESTAMP | DATE, Some(string)) => time(of, &string),
        _ => Refused,
    }
}

fn chars(string: &str, most: usize) -> Expected {
    if string.contains('\0') || string.chars().count() > most { Refused } else { Is(string.into()) }
}

fn integer(json: &str, min: i128, max: i128) -> Expected {
    match json.parse::<i128>() {
        Ok(value) if (min..=max).contains(&value) => Is(value.to_string()),
        _ => Refused,
    }
}

fn float(of: Type, json: &str) -> Expected {
    let mantissa = json.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b));
    let (shown, fits) = if of == FLOAT4 {
        let value: f32 = json.parse().expect("a JSON number is a float");
        (format!("{value:?}"), value.is_finite() && (value != 0.0) != is_zero)
    } else {
        let value: f64 = json.parse().expect("a JSON number is a float");
        (format!("{value:?}"), value.is_finite() && (value != 0.0) != is_zero)
    };
    if fits { Is(shown) } else { Refused }
}

/// Decimals by moving the point in the text.
fn decimal(of: Type, literal: &str) -> Expected {
    let (negative, rest) = literal.strip_prefix('-').map_or((false, literal), |rest| (true, rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if whole.is_empty()
        || unsigned.is_empty()
        || ![whole, fraction, unsigned].map(digits)[..].iter().all(|ok| *ok)
    {
        return Refused;
    }
    let Some(exponent) = exponent.parse::<i64>().ok().filter(|e| e.abs() <= 140_000) else {
        return Refused;
    };
    let all = format!("{whole}{fraction}");
    let point = whole.len() as i64 + exponent;
    let at = |place: i64| {
        usize::try_from(place)
            .ok()
            .and_then(|place| all.as_bytes().get(place))
            .map_or('0', |b| char::from(*b))
    };
    let whole: String = (0.min(point)..point).map(at).collect();
    let fraction: String = (point..all.len() as i64).map(at).collect();
    let whole = whole.trim_start_matches('0');
    let kept = fraction.trim_end_matches('0');
    let fraction = match of.limits() {
        None if fraction.len() > 16_383 => return Refused,
        None => fraction.clone(),
        Some((precision, scale)) => {
            let leading = kept.len() - kept.trim_start_matches('0').len();
            let is_zero = whole.is_empty() && kept.is_empty();
            // A scale beyond the precision demands zeros right behind the point.
            let too_large = whole.len() as i64 > (precision - scale).max(0)
                || !kept.is_empty() && (leading as i64) < scale - precision;
            if kept.len() as i64 > scale || !is_zero && too_large {
                return Refused;
            }
            format!("{kept:0<width$}", width = scale as usize)
        }
    };
    if whole.len() > 131_072 {
        return Refused;
    }
    let is_zero = whole.is_empty() && kept.is_empty();
    let sign = if negative && !is_zero { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Is(format!("{sign}{whole}{point}{fraction}"))
}

/// Predicts the two usual spellings; in others the digits must be kept, which the callers see to.
fn uuid(string: &str) -> Expected {
    let hex: String = string.chars().filter(|c| *c != '-').collect();
    let plain = hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    let hyphens: Vec<usize> = string.match_indices('-').map(|(at, _)| at).collect();
    if plain && (hyphens.is_empty() || hyphens == [8, 13, 18, 23]) {
        Is(hex.to_ascii_lowercase())
    } else if hex.bytes().filter(|b| b.is_ascii_hexdigit()).count() < 32 {
        Refused
    } else {
        Open
    }
}

/// Predicts `2026-01-02T03:04:05.678+01:00` and its parts.
fn time(of: Type, string: &str) -> Expected {
    let Some((days, rest)) = string.get(..10).and_then(day).zip(string.get(10..)) else {
        return Open;
    };
    if rest.is_empty() {
        return match of {
            DATE => Is(days.to_string()),
            TIMESTAMP => Is((days * 86_400_000_000).to_string()),
            _ => Refused,
        };
    }
    let Some((clock, rest)) = rest.strip_prefix('T').and_then(clock) else { return Open };
    let offset = match rest {
        "" => None,
        "Z" => Some(0),
        _ => match offset(rest) {
            Some(offset) => Some(offset),
            None => return Open,
        },
    };
    // What the column would drop is refused.
    match (of, offset) {
        (TIMESTAMP, None) => Is((days * 86_400_000_000 + clock).to_string()),
        (TIMESTAMPTZ, Some(offset)) => {
            Is((days * 86_400_000_000 + clock - offset * 1_000_000).to_string())
        }
        _ => Refused,
    }
}

fn two(text: &str, from: usize) -> Option<i64> {
    let pair = text.get(from..from + 2)?;
    pair.bytes().all(|b| b.is_ascii_digit()).then(|| pair.parse().ok())?
}

/// Days since 2000-01-01, counted year by year and month by month.
fn day(text: &str) -> Option<i64> {
    let hyphen = |at: usize| text.as_bytes()[at] == b'-';
    let year = two(text, 0)? * 100 + two(text, 2)?;
    let (month, day) = (two(text, 5)?, two(text, 8)?);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if !hyphen(4) || !hyphen(7) || year == 0 || !(1..=12).contains(&month) {
        return None;
    }
    let before = &lengths[..month as usize - 1];
    if day < 1 || day > lengths[month as usize - 1] {
        return None;
    }
    let years: i64 = if year >= 2000 {
        (2000..year).map(|year| 365 + i64::from(leap(year))).sum()
    } else {
        -(year..2000).map(|year| 365 + i64::from(leap(year))).sum::<i64>()
    };
    Some(years + before.iter().sum::<i64>() + day - 1)
}

/// Microseconds of the day, the fraction rounded as PostgreSQL does it; and what follows.
fn clock(text: &str) -> Option<(i64, &str)> {
    let colon = |at: usize| text.as_bytes().get(at) == Some(&b':');
    let (hour, minute, second) = (two(text, 0)?, two(text, 3)?, two(text, 6)?);
    if !colon(2) || !colon(5) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = ((hour * 60 + minute) * 60 + second) * 1_000_000;
    let mut rest = text.get(8..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        let seconds: f64 = format!("0.{}", &fraction[..digits]).parse().ok()?;
        micros += (seconds * 1e6).round_ties_even() as i64;
        rest = &fraction[digits..];
    }
    Some((micros, rest))
}

/// Seconds east of Greenwich.
fn offset(text: &str) -> Option<i64> {
    let sign = if text.starts_with('+') { 1 } else { -1 };
    let (hours, minutes) = (two(text, 1)?, two(text, 4)?);
    let whole = text.len() == 6 && text.starts_with(['+', '-']) && text.as_bytes()[3] == b':';
    (whole && hours < 16 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60)
}
