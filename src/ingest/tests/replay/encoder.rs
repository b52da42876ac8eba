//! One value for one column.

use super::expect::{self, Expected};
use super::*;
use ingest::fuzzing::{Input, copy_stream, encode};

/// The first byte chooses the type, the second what kind of value the rest is.
pub(crate) fn check(input: &[u8]) {
    let [kind, form, rest @ ..] = input else { return };
    let of = TYPES[usize::from(*kind) % TYPES.len()];
    let text = String::from_utf8_lossy(rest);
    match form % 4 {
        0 if json::is_valid(&text) => check_json(of, text.trim_matches([' ', '\t', '\n', '\r'])),
        0 | 1 => check_json(of, &serde_json::to_string(&*text).expect("a string is JSON")),
        2 => check_text(of, &text),
        _ => check_number(of, rest),
    }
}

fn check_json(of: Type, json: &str) {
    let field = encode(of.0, of.1, Input::Json(json));
    if let Some(field) = &field {
        check_stream(of, field);
    }
    let shown = field.as_deref().map(|field| read::field(of, field).0);
    match expect::value(of, json) {
        Expected::Null => assert_eq!(shown, Some(None), "{of:?} {json}"),
        Expected::Is(value) => assert_eq!(shown, Some(Some(value)), "{of:?} {json}"),
        Expected::Refused => assert_eq!(shown, None, "{of:?} {json}"),
        Expected::Open => check_open(of, json, shown.flatten()),
    }
}

/// What holds for unusual spellings too: the digits of a uuid are those of the text.
fn check_open(of: Type, json: &str, shown: Option<String>) {
    if let (UUID, Some(shown)) = (of, shown) {
        let digits = json.trim_matches('"').to_ascii_lowercase();
        let digits =
            digits.strip_prefix("urn:uuid:").unwrap_or(&digits).replace(['-', '{', '}'], "");
        assert_eq!(shown, digits);
    }
}

/// Text that is not JSON: text columns hold it as it is, others what JSON of the same text is.
fn check_text(of: Type, text: &str) {
    let Some(field) = encode(of.0, of.1, Input::Text(text)) else { return };
    check_stream(of, &field);
    let shown = read::field(of, &field).0;
    let quoted = serde_json::to_string(text).expect("a string is JSON");
    let as_json = match of {
        TEXT | VARCHAR_5 | CHAR_3 | UUID | TIMESTAMPTZ | TIMESTAMP | DATE => quoted,
        _ => text.to_owned(),
    };
    match of {
        JSON | JSONB => assert!(json::is_valid(text), "{of:?} {text:?}"),
        _ => {
            let by_json = encode(of.0, of.1, Input::Json(&as_json)).expect("fits as JSON too");
            assert_eq!(shown, read::field(of, &by_json).0);
        }
    }
}

/// An integer, and the same number as nanoseconds of a time.
fn check_number(of: Type, bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<8>() else { return };
    let number = i64::from_be_bytes(*bytes);
    if let Some(field) = encode(of.0, of.1, Input::Integer(number)) {
        check_stream(of, &field);
        let shown = read::field(of, &field).0;
        match of {
            FLOAT4 => assert_eq!(shown, Some(format!("{:?}", number as f32))),
            FLOAT8 => assert_eq!(shown, Some(format!("{:?}", number as f64))),
            NUMERIC_8_2 => assert_eq!(shown, Some(format!("{number}.00"))),
            NUMERIC_3_5 => assert_eq!(number, 0),
            _ => assert_eq!(shown, Some(number.to_string())),
        }
    }
    if let Some(field) = encode(of.0, of.1, Input::Time(i128::from(number) * 1000)) {
        check_stream(of, &field);
        if let TIMESTAMPTZ | TIMESTAMP = of {
            let micros = number - 946_684_800_000_000;
            assert_eq!(read::field(of, &field).0, Some(micros.to_string()));
        }
    }
}

/// Two rows of the field and a null make a COPY stream that reads back.
fn check_stream(of: Type, field: &[u8]) {
    let row = [field, &(-1i32).to_be_bytes()].concat();
    let stream = copy_stream(&[(7, &row), (u32::MAX, &row)], 2);
    let rows = copy::rows(&stream);
    assert_eq!(rows.len(), 2, "{of:?}");
    for (row, event) in rows.iter().zip([7, u32::MAX]) {
        assert_eq!(row[..], [Some(&event.to_be_bytes()[..]), read::split(field).0, None]);
    }
}
