//! Encoded fields back to text, written from PostgreSQL's description of its binary formats and
//! not from our encoder.

use super::*;

/// One field: its value as text, `None` for null; and what follows it.
pub(crate) fn field(of: Type, bytes: &[u8]) -> (Option<String>, &[u8]) {
    let (value, rest) = split(bytes);
    (value.map(|value| text(of, value)), rest)
}

/// The bytes of one field, `None` for null; and what follows it.
pub(crate) fn split(bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let (head, rest) = bytes.split_first_chunk::<4>().expect("a length of four bytes");
    match i32::from_be_bytes(*head) {
        -1 => (None, rest),
        len => {
            let len = usize::try_from(len).expect("no other negative length than -1");
            let (value, rest) = rest.split_at_checked(len).expect("as many bytes as announced");
            (Some(value), rest)
        }
    }
}

fn text(of: Type, value: &[u8]) -> String {
    match of {
        INT2 => i16::from_be_bytes(exact(value)).to_string(),
        INT4 => i32::from_be_bytes(exact(value)).to_string(),
        INT8 => i64::from_be_bytes(exact(value)).to_string(),
        FLOAT4 => format!("{:?}", f32::from_be_bytes(exact(value))),
        FLOAT8 => format!("{:?}", f64::from_be_bytes(exact(value))),
        BOOL => match value {
            [0] => "false".into(),
            [1] => "true".into(),
            _ => panic!("a boolean of {value:?}"),
        },
        UUID => exact::<16>(value).iter().map(|byte| format!("{byte:02x}")).collect(),
        TIMESTAMPTZ | TIMESTAMP => {
            let micros = i64::from_be_bytes(exact(value));
            // From 4714-11-24 BC to the end of the year 294276.
            assert!((-211_813_488_000_000_000..9_223_371_331_200_000_000).contains(&micros));
            micros.to_string()
        }
        DATE => {
            let days = i32::from_be_bytes(exact(value));
            assert!((-2_451_545..2_145_031_949).contains(&days));
            days.to_string()
        }
        JSONB => {
            assert_eq!(value[0], 1, "the version of jsonb");
            utf8(&value[1..])
        }
        Type(1700, _) => numeric(value),
        _ => utf8(value),
    }
}

fn utf8(value: &[u8]) -> String {
    String::from_utf8(value.to_vec()).expect("text is UTF-8")
}

fn exact<const N: usize>(value: &[u8]) -> [u8; N] {
    value.try_into().expect("the length of the type")
}

/// The decimal that a binary `numeric` spells.
fn numeric(value: &[u8]) -> String {
    let words: Vec<u16> =
        value.chunks(2).map(|pair| u16::from_be_bytes(pair.try_into().expect("pairs"))).collect();
    let [count, weight, sign, scale, groups @ ..] = &words[..] else { panic!("a short numeric") };
    let (weight, scale) = (i32::from(*weight as i16), usize::from(*scale));
    assert_eq!(groups.len(), usize::from(*count));
    assert!(scale <= 16_383, "more decimals than numeric has");
    assert!(*sign == 0 || *sign == 0x4000, "sign {sign:x}");
    assert!(groups.iter().all(|group| *group < 10_000), "a digit beyond base 10000");
    assert!(groups.first() != Some(&0) && groups.last() != Some(&0), "zeros at an end");
    let group = |place: i32| {
        usize::try_from(weight - place).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0)
    };
    let whole: String =
        (0..=weight.max(0)).rev().map(|place| format!("{:04}", group(place))).collect();
    let whole = whole.trim_start_matches('0');
    let places = (scale as i32 + 3) / 4;
    let fraction: String = (1..=places).map(|place| format!("{:04}", group(-place))).collect();
    let lost = weight - (i32::from(*count) - 1) < -places
        || fraction[scale..].bytes().any(|digit| digit != b'0');
    assert!(*count == 0 || !lost, "digits behind the announced decimals");
    let sign = if *sign == 0 { "" } else { "-" };
    let whole = if whole.is_empty() { "0" } else { whole };
    match &fraction[..scale] {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}
