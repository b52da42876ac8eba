//! JSON values to PostgreSQL's binary COPY fields, by the type of the target column. Exact or
//! refused: a value that the column could only hold changed is a reason, never a rounding.

mod array;
mod binary;
pub(crate) mod copy;
mod epoch;
mod inet;
mod json;
mod numeric;
mod target;
mod time;
mod uuid;

use std::borrow::Cow;
use std::io::Write as _;

use json::put_json_text;
use numeric::{numeric_limits, put_numeric};
use serde::de::IgnoredAny;
use tokio_postgres::types::Type;

pub(crate) use json::is_jsonb;
pub(crate) use target::{Target, TypeInfo};

/// How a column wants its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `text`, `varchar(n)`, `char(n)`, enums: at most this many characters.
    Text {
        max_chars: Option<u32>,
    },
    Uuid,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// `numeric(precision, scale)`; `None` for plain `numeric`.
    Numeric {
        limits: Option<(u16, u16)>,
    },
    Bool,
    Timestamptz,
    Timestamp,
    Date,
    Json,
    Jsonb,
    /// Its values need a [`Target`] that says how they are written.
    Bytea,
    /// `inet`, `cidr`.
    Inet {
        is_cidr: bool,
    },
}

/// Why a value does not fit its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// Another kind of value was needed.
    Type { needed: &'static str },
    /// The same for an item of an array.
    Item { needed: &'static str },
    /// Right kind, but the column cannot hold it.
    Range { why: &'static str },
    /// Contains the character U+0000, which PostgreSQL cannot store.
    Nul,
}

/// The text of one JSON value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Json<'a> {
    pub(crate) text: &'a str,
    /// It is known to hold no backslash, so no string in it has to be searched for escapes.
    pub(crate) plain: bool,
}

impl<'a> From<&'a str> for Json<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, plain: false }
    }
}

impl Kind {
    /// The kind for a catalog type: its base type's object id and type modifier. `None` where
    /// there is no conversion.
    pub(crate) fn of(oid: u32, modifier: i32) -> Option<Self> {
        Some(match Type::from_oid(oid)? {
            Type::TEXT => Self::Text { max_chars: None },
            Type::VARCHAR | Type::BPCHAR => {
                Self::Text { max_chars: u32::try_from(modifier - 4).ok() }
            }
            Type::UUID => Self::Uuid,
            Type::INT2 => Self::Int2,
            Type::INT4 => Self::Int4,
            Type::INT8 => Self::Int8,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            Type::NUMERIC => Self::Numeric { limits: numeric_limits(modifier)? },
            Type::BOOL => Self::Bool,
            Type::TIMESTAMPTZ => Self::Timestamptz,
            Type::TIMESTAMP => Self::Timestamp,
            Type::DATE => Self::Date,
            Type::JSON => Self::Json,
            Type::JSONB => Self::Jsonb,
            Type::BYTEA => Self::Bytea,
            Type::INET => Self::Inet { is_cidr: false },
            Type::CIDR => Self::Inet { is_cidr: true },
            _ => return None,
        })
    }

    /// Whether equal values of both kinds have equal bytes.
    pub(crate) fn encodes_like(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Text { .. }, Self::Text { .. }))
    }

    /// Appends one field (length and bytes) for a JSON value; `null` is null. On a misfit nothing
    /// is appended.
    pub(crate) fn put_json<'a>(
        self,
        out: &mut Vec<u8>,
        value: impl Into<Json<'a>>,
    ) -> Result<(), Misfit> {
        let value = value.into();
        let json = value.text;
        if json == "null" && !matches!(self, Self::Json | Self::Jsonb) {
            put_null(out);
            return Ok(());
        }
        match self {
            Self::Json => put_json_text(out, value, None),
            Self::Jsonb => put_json_text(out, value, Some(1)),
            Self::Bool => match json {
                "true" => put(out, &[1]),
                "false" => put(out, &[0]),
                _ => Err(Misfit::Type { needed: "true or false" }),
            },
            Self::Int2 => integer(json, i16::MIN.into(), i16::MAX.into())
                .and_then(|n| put(out, &(n as i16).to_be_bytes())),
            Self::Int4 => integer(json, i32::MIN.into(), i32::MAX.into())
                .and_then(|n| put(out, &(n as i32).to_be_bytes())),
            Self::Int8 => {
                integer(json, i64::MIN, i64::MAX).and_then(|n| put(out, &n.to_be_bytes()))
            }
            Self::Float4 => {
                let value: f32 = float(json)?;
                fits_float(json, value.is_finite(), value == 0.0)?;
                put(out, &value.to_be_bytes())
            }
            Self::Float8 => {
                let value: f64 = float(json)?;
                fits_float(json, value.is_finite(), value == 0.0)?;
                put(out, &value.to_be_bytes())
            }
            Self::Numeric { limits } => {
                // Decimals often travel as strings, so that no reader makes floats of them.
                let digits = if is_string(json) { string(value)? } else { Cow::Borrowed(json) };
                put_numeric(out, &digits, limits)
            }
            // No string of JSON has the character itself in it, only its escape.
            Self::Text { max_chars } if is_string(json) && value.plain => {
                put_chars(out, &json[1..json.len() - 1], max_chars)
            }
            _ if is_string(json) && value.plain => self.put_text(out, &json[1..json.len() - 1]),
            _ if is_string(json) => self.put_text(out, &string(value)?),
            Self::Text { .. } => Err(Misfit::Type { needed: "a string" }),
            Self::Uuid => Err(Misfit::Type { needed: "a string with a uuid" }),
            Self::Timestamptz | Self::Timestamp | Self::Date => {
                Err(Misfit::Type { needed: "a string with an ISO 8601 time" })
            }
            Self::Inet { .. } => Err(Misfit::Type { needed: "a string with an IP address" }),
            Self::Bytea => Err(Misfit::Type { needed: "a declared form" }),
        }
    }

    /// Appends one field for a plain text value (an SSE field, not JSON).
    pub(crate) fn put_text(self, out: &mut Vec<u8>, text: &str) -> Result<(), Misfit> {
        match self {
            Self::Text { max_chars } => {
                if memchr::memchr(0, text.as_bytes()).is_some() {
                    return Err(Misfit::Nul);
                }
                put_chars(out, text, max_chars)
            }
            Self::Uuid => match uuid::parse(text) {
                Some(uuid) => put_fixed::<16, 20>(out, uuid),
                None => Err(Misfit::Type { needed: "a string with a uuid" }),
            },
            Self::Timestamptz => put_fixed::<8, 12>(out, time::micros(text)?.to_be_bytes()),
            Self::Timestamp => put_fixed::<8, 12>(out, time::local_micros(text)?.to_be_bytes()),
            Self::Date => put(out, &time::days(text)?.to_be_bytes()),
            Self::Inet { is_cidr } => inet::put_inet(out, text, is_cidr),
            Self::Bytea => Err(Misfit::Type { needed: "a declared form" }),
            Self::Json | Self::Jsonb if serde_json::from_str::<IgnoredAny>(text).is_err() => {
                Err(Misfit::Type { needed: "JSON" })
            }
            // The text is taken as the JSON value or number that it spells.
            _ => self.put_json(out, text),
        }
    }

    /// Appends a field for an integer that is no JSON (an offset).
    pub(crate) fn put_integer(self, out: &mut Vec<u8>, value: i64) -> Result<(), Misfit> {
        match self {
            Self::Int2 => within(value, i16::MIN.into(), i16::MAX.into())
                .and_then(|n| put(out, &(n as i16).to_be_bytes())),
            Self::Int4 => within(value, i32::MIN.into(), i32::MAX.into())
                .and_then(|n| put(out, &(n as i32).to_be_bytes())),
            Self::Int8 => put(out, &value.to_be_bytes()),
            // Offsets are in every row: their digits are written without an allocation.
            _ => {
                let mut digits = [0; 20];
                let mut rest = &mut digits[..];
                let _ = write!(rest, "{value}");
                let left = rest.len();
                let text = std::str::from_utf8(&digits[..20 - left]).unwrap_or_default();
                match self {
                    Self::Text { .. } => self.put_text(out, text),
                    _ => self.put_json(out, text),
                }
            }
        }
    }

    /// Appends a field for a point in time.
    pub(crate) fn put_time(self, out: &mut Vec<u8>, time: jiff::Timestamp) -> Result<(), Misfit> {
        match self {
            Self::Timestamptz | Self::Timestamp => {
                put(out, &time::micros_since_2000(time)?.to_be_bytes())
            }
            _ => self.put_text(out, &time.to_string()),
        }
    }
}

pub(crate) fn put_null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1i32).to_be_bytes());
}

fn put_chars(out: &mut Vec<u8>, text: &str, max_chars: Option<u32>) -> Result<(), Misfit> {
    if max_chars.is_some_and(|max| text.len() > max as usize && text.chars().count() > max as usize)
    {
        return Err(Misfit::Range { why: "too many characters" });
    }
    put(out, text.as_bytes())
}

/// As [`put`], in one piece.
#[inline(always)]
fn put_fixed<const BYTES: usize, const FIELD: usize>(
    out: &mut Vec<u8>,
    bytes: [u8; BYTES],
) -> Result<(), Misfit> {
    const { assert!(FIELD == BYTES + 4) };
    let mut field = [0; FIELD];
    field[..4].copy_from_slice(&(BYTES as i32).to_be_bytes());
    field[4..].copy_from_slice(&bytes);
    out.extend_from_slice(&field);
    Ok(())
}

#[inline(always)]
fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Misfit> {
    let len = i32::try_from(bytes.len()).map_err(|_| Misfit::Range { why: "over 2 GiB" })?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

fn is_string(json: &str) -> bool {
    json.len() >= 2 && json.starts_with('"') && json.ends_with('"')
}

/// The value of a JSON string literal.
pub(crate) fn string(json: Json<'_>) -> Result<Cow<'_, str>, Misfit> {
    let inner = &json.text[1..json.text.len() - 1];
    if json.plain || memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(json.text)
        .map(Cow::Owned)
        .map_err(|_| Misfit::Type { needed: "a string of valid characters" })
}

fn within(value: i64, min: i64, max: i64) -> Result<i64, Misfit> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(Misfit::Range { why: "too large for the column's integer type" })
    }
}

fn integer(json: &str, min: i64, max: i64) -> Result<i64, Misfit> {
    match json.parse::<i64>() {
        Ok(value) => within(value, min, max),
        Err(_) => {
            let digits = json.strip_prefix('-').unwrap_or(json);
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
                Err(Misfit::Range { why: "too large for the column's integer type" })
            } else {
                Err(Misfit::Type { needed: "an integer" })
            }
        }
    }
}

/// The nearest float of this width, read from the text and not by way of another width.
fn float<F: std::str::FromStr>(json: &str) -> Result<F, Misfit> {
    let wrong = Misfit::Type { needed: "a number" };
    if !json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Err(wrong);
    }
    json.parse().map_err(|_| wrong)
}

/// Floats are nearest values by nature, but neither infinity nor zero is near another number.
fn fits_float(json: &str, finite: bool, zero: bool) -> Result<(), Misfit> {
    let mantissa = json.split(['e', 'E']).next().unwrap_or_default();
    if !finite {
        Err(Misfit::Range { why: "too large for the column's float type" })
    } else if zero && mantissa.bytes().any(|digit| matches!(digit, b'1'..=b'9')) {
        Err(Misfit::Range { why: "too close to zero for the column's float type" })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio_postgres::types::FromSql;

    fn field(kind: Kind, json: &str) -> Result<Option<Vec<u8>>, Misfit> {
        let mut out = Vec::new();
        let result = kind.put_json(&mut out, json);
        if result.is_err() {
            assert!(out.is_empty(), "a misfit must append nothing");
        }
        result?;
        let len = i32::from_be_bytes(out[..4].try_into().unwrap());
        assert_eq!(len.max(0) as usize + 4, out.len());
        Ok((len >= 0).then(|| out[4..].to_vec()))
    }

    /// Reads the binary form back, independently of the writer.
    fn numeric_text(bytes: &[u8]) -> String {
        let word = |at: usize| i16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let (count, weight, sign, scale) = (word(0) as usize, word(2), word(4), word(6) as usize);
        let group = |position: i32| -> i16 {
            let index = i32::from(weight) - position;
            if index >= 0 && (index as usize) < count { word(8 + 2 * index as usize) } else { 0 }
        };
        let mut text = String::new();
        for position in (0..=i32::from(weight.max(0))).rev() {
            text.push_str(&format!("{:04}", group(position)));
        }
        let whole = text.trim_start_matches('0');
        let mut text = if whole.is_empty() { "0".to_owned() } else { whole.to_owned() };
        let mut fraction = String::new();
        for position in 1..=(scale as i32 + 3) / 4 {
            fraction.push_str(&format!("{:04}", group(-position)));
        }
        fraction.truncate(scale);
        if scale > 0 {
            text = format!("{text}.{fraction}");
        }
        if sign == 0x4000 { format!("-{text}") } else { text }
    }

    const MONEY: Kind = Kind::Numeric { limits: Some((10, 2)) };

    #[test]
    fn numbers_keep_their_value_and_scale() {
        for (literal, shown) in [
            ("0", "0.00"),
            ("12.5", "12.50"),
            ("0.01", "0.01"),
            ("99999999.99", "99999999.99"),
            ("-3.10", "-3.10"),
            ("1e3", "1000.00"),
            ("12500E-3", "12.50"),
            ("\"7.25\"", "7.25"),
            ("-0.00", "0.00"),
            ("10000", "10000.00"),
            ("100.5000", "100.50"),
        ] {
            let bytes = field(MONEY, literal).unwrap().unwrap();
            assert_eq!(numeric_text(&bytes), shown, "{literal}");
        }
    }

    #[test]
    fn the_longest_number_keeps_its_sign() {
        let literal = format!("-{}.{}", "1".repeat(131_072), "3".repeat(16_383));
        let bytes = field(Kind::Numeric { limits: None }, &literal).unwrap().unwrap();
        assert_eq!(bytes.len(), 8 + 2 * (32_768 + 4_096));
        assert_eq!((&bytes[..2], &bytes[4..6]), (&[0x90, 0x00][..], &[0x40, 0x00][..]));
    }

    #[test]
    fn numbers_that_would_change_are_refused() {
        assert!(
            matches!(field(MONEY, "1.005"), Err(Misfit::Range { why }) if why.contains("decimals"))
        );
        assert!(
            matches!(field(MONEY, "100000000"), Err(Misfit::Range { why }) if why.contains("precision"))
        );
        assert!(matches!(field(MONEY, "true"), Err(Misfit::Type { .. })));
        assert!(matches!(field(MONEY, "\"NaN\""), Err(Misfit::Type { .. })));
        assert!(matches!(
            field(Kind::Numeric { limits: None }, "1e999999"),
            Err(Misfit::Range { .. })
        ));
        assert!(matches!(field(Kind::Int2, "40000"), Err(Misfit::Range { .. })));
        assert!(matches!(field(Kind::Int4, "1.0"), Err(Misfit::Type { .. })));
        assert!(matches!(field(Kind::Int8, "99999999999999999999"), Err(Misfit::Range { .. })));
        assert!(matches!(field(Kind::Float8, "1e400"), Err(Misfit::Range { .. })));
        assert!(matches!(
            field(Kind::Text { max_chars: Some(3) }, "\"äöüß\""),
            Err(Misfit::Range { .. })
        ));
    }

    #[test]
    fn strings_become_what_the_column_is() {
        let uuid = field(Kind::Uuid, "\"0193b3f0-0000-7000-8000-0000000000ff\"").unwrap().unwrap();
        assert_eq!((uuid[0], uuid[15]), (0x01, 0xff));
        let time =
            field(Kind::Timestamptz, "\"2000-01-01T01:00:00.000001+01:00\"").unwrap().unwrap();
        assert_eq!(i64::from_be_bytes(time.try_into().unwrap()), 1);
        let date = field(Kind::Date, "\"1999-12-31\"").unwrap().unwrap();
        assert_eq!(i32::from_be_bytes(date.try_into().unwrap()), -1);
        assert_eq!(
            field(Kind::Text { max_chars: None }, r#""a\"\u00e9""#).unwrap().unwrap(),
            "a\"é".as_bytes()
        );
        assert_eq!(field(Kind::Jsonb, r#"{"a":1}"#).unwrap().unwrap(), b"\x01{\"a\":1}");
        assert_eq!(field(Kind::Uuid, "null").unwrap(), None);
        assert!(matches!(field(Kind::Uuid, "\"nope\""), Err(Misfit::Type { .. })));
        assert!(matches!(
            field(Kind::Timestamptz, "\"2026-01-01T00:00:00\""),
            Err(Misfit::Type { .. })
        ));
        assert!(matches!(field(Kind::Text { max_chars: None }, "5"), Err(Misfit::Type { .. })));
    }

    #[test]
    fn only_a_real_escaped_nul_is_refused() {
        assert_eq!(field(Kind::Jsonb, r#"{"a":"x\u0000"}"#), Err(Misfit::Nul));
        assert_eq!(field(Kind::Text { max_chars: None }, r#""\u0000""#), Err(Misfit::Nul));
        assert!(field(Kind::Jsonb, r#"{"a":"\\u0000"}"#).is_ok());
        assert_eq!(field(Kind::Jsonb, r#"{"a":"\\\u0000"}"#), Err(Misfit::Nul));
    }

    proptest! {
        #[test]
        fn any_decimal_survives(negative: bool, whole in "0|[1-9][0-9]{0,30}", fraction in "[0-9]{0,30}") {
            let dot = if fraction.is_empty() { "" } else { "." };
            let plain = format!("{whole}{dot}{fraction}");
            let zero = plain.bytes().all(|b| b == b'0' || b == b'.');
            let literal = if negative { format!("-{plain}") } else { plain.clone() };
            let bytes = field(Kind::Numeric { limits: None }, &literal).unwrap().unwrap();
            let expected = if negative && !zero { literal } else { plain };
            prop_assert_eq!(numeric_text(&bytes), expected);
        }

        #[test]
        fn times_agree_with_the_driver(micros in -60_000_000_000_000_000i64..250_000_000_000_000_000) {
            let time = jiff::Timestamp::from_microsecond(micros).unwrap();
            let bytes = field(Kind::Timestamptz, &format!("\"{time}\"")).unwrap().unwrap();
            let back = std::time::SystemTime::from_sql(&Type::TIMESTAMPTZ, &bytes).unwrap();
            let expected = std::time::SystemTime::from(time);
            prop_assert_eq!(back, expected);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            for kind in [MONEY, Kind::Int8, Kind::Float4, Kind::Uuid, Kind::Timestamptz, Kind::Date] {
                let mut out = Vec::new();
                let _ = kind.put_text(&mut out, &text);
            }
        }
    }
}
