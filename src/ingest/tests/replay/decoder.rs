//! One event among others.

use std::cell::RefCell;

use super::expect::{self, Expected};
use super::*;
use ingest::fuzzing::{Bench, Column};

const fn column(source: &'static str, of: Type, required: bool) -> Column {
    Column { source, oid: of.0, modifier: of.1, required }
}

/// Every kind of column, values at any depth, values inside wanted values, and required ones.
const RAW: [Column; 5] = [
    column("$id", INT8, true),
    column("$epoch", TEXT, true),
    column("$event", VARCHAR_5, true),
    column("$data", JSONB, true),
    column("$data", TEXT, true),
];
const KINDS: [Column; 19] = [
    column("/k", INT8, true),
    column("/text", TEXT, false),
    column("/vc", VARCHAR_5, false),
    column("/ch", CHAR_3, false),
    column("/uuid", UUID, false),
    column("/i2", INT2, false),
    column("/i4", INT4, false),
    column("/f4", FLOAT4, false),
    column("/f8", FLOAT8, false),
    column("/n", NUMERIC, false),
    column("/n82", NUMERIC_8_2, false),
    column("/n35", NUMERIC_3_5, false),
    column("/b", BOOL, false),
    column("/tz", TIMESTAMPTZ, false),
    column("/ts", TIMESTAMP, false),
    column("/d", DATE, false),
    column("/js", JSON, false),
    column("/jb", JSONB, false),
    column("", JSONB, false),
];
const DEEP: [Column; 6] = [
    column("/a/b", INT4, true),
    column("/a", JSON, false),
    column("/a/b", TEXT, false),
    column("/a/c/1/d", TEXT, false),
    column("/e~1f/~0", TEXT, false),
    column("/0", TEXT, false),
];
/// Only what can be missing: whatever JSON comes, an event of this type lands.
const LOOSE: [Column; 2] = [column("$id", INT8, true), column("/a/b/c", JSON, false)];

const ROUTES: [(&str, &[Column]); 6] = [
    ("*", &RAW),
    ("kinds", &KINDS),
    ("deep", &DEEP),
    ("both", &KINDS),
    ("both", &DEEP),
    ("loose", &LOOSE),
];
const CODES: [&str; 5] =
    ["not_json", "missing_field", "wrong_type", "out_of_range", "nul_character"];
/// An event that lands, for before and after.
const GOOD: &str = r#"{"k":1,"text":"t","a":{"b":2},"n":"1.50"}"#;

/// The first byte chooses the type, the rest is the data.
pub(crate) fn check(input: &[u8]) {
    thread_local!(static BENCH: RefCell<Bench> = RefCell::new(Bench::new(&ROUTES)));
    BENCH.with_borrow_mut(|bench| {
        bench.clear();
        check_with(bench, input);
    });
}

fn check_with(bench: &mut Bench, input: &[u8]) {
    let [choice, data @ ..] = input else { return };
    let data = String::from_utf8_lossy(data);
    let event_type = ["kinds", "deep", "both", "loose", "other", "too long for its column"]
        [usize::from(*choice) % 6];
    bench.decode(0, 1, "kinds", GOOD).expect("lands");
    let before = snapshot(bench);
    let result = bench.decode(1, 2, event_type, &data);
    match &result {
        Ok(()) => {
            for (route, (event, columns)) in ROUTES.iter().enumerate() {
                let rows = rows_of(bench, route);
                let old = before[route].1.len();
                assert_eq!(rows[..old], before[route].1[..], "an earlier row changed");
                if *event == "*" || *event == event_type {
                    assert_eq!(rows.len(), old + 1);
                    assert_eq!(rows[old].0, 1);
                    check_row(columns, event_type, &data, &rows[old].1);
                } else {
                    assert_eq!(rows.len(), old);
                }
            }
        }
        Err((code, text)) => {
            assert!(CODES.contains(code), "{code}");
            assert!(!text.is_empty() && text.len() < 300, "{text}");
            assert!(
                is_unclear(&data) || (*code == "not_json") != json::is_valid(&data),
                "{code}: {text}"
            );
            assert_eq!(snapshot(bench), before, "a refused event left something behind");
        }
    }
    check_verdict(event_type, &data, result.map_err(|(code, _)| code));
    bench.decode(2, 3, "kinds", GOOD).expect("lands after any event");
    let rows = bench.rows(1);
    assert_eq!(rows[0].1, rows[rows.len() - 1].1, "the event after has other rows");
}

type Rows = Vec<(u32, Vec<u8>)>;
type Snapshot = Vec<(Vec<u8>, Rows)>;

fn rows_of(bench: &Bench, route: usize) -> Rows {
    let rows = bench.rows(route).into_iter();
    rows.map(|(event, fields)| (event, fields.to_vec())).collect()
}

fn snapshot(bench: &Bench) -> Snapshot {
    (0..ROUTES.len()).map(|route| (bench.bytes(route).to_vec(), rows_of(bench, route))).collect()
}

/// JSON that no tree can be made of: with half characters it may count as broken, or not.
fn is_unclear(data: &str) -> bool {
    json::is_valid(data) && json::oddities(data).lone_surrogate
}

/// What a column must hold for this event.
fn expected(column: &Column, event_type: &str, data: &str) -> Expected {
    let of = Type(column.oid, column.modifier);
    match column.source {
        "$id" => Expected::Is("2".into()),
        "$epoch" => Expected::Is("one".into()),
        "$event" => expect::value(of, &serde_json::to_string(event_type).expect("JSON")),
        "$data" if of == TEXT => Expected::Is(data.into()),
        "$data" => expect::value(of, data.trim_matches([' ', '\t', '\n', '\r'])),
        pointer => match json::lookup(data, pointer) {
            None | Some("null") if column.required => Expected::Refused,
            None => Expected::Null,
            Some(json) => expect::value(of, json),
        },
    }
}

fn check_row(columns: &[Column], event_type: &str, data: &str, mut fields: &[u8]) {
    for column in columns {
        let (shown, rest) = read::field(Type(column.oid, column.modifier), fields);
        fields = rest;
        match expected(column, event_type, data) {
            Expected::Null => assert_eq!(shown, None, "{column:?}"),
            Expected::Is(value) => assert_eq!(shown, Some(value), "{column:?}"),
            Expected::Refused => panic!("{column:?} should have refused {data}"),
            Expected::Open => {}
        }
    }
    assert!(fields.is_empty(), "more fields than columns");
}

/// An event is refused if and only if one of its columns cannot hold its value, with the code of
/// the first of these.
fn check_verdict(event_type: &str, data: &str, result: Result<(), &str>) {
    if !json::is_valid(data) {
        assert_eq!(result, Err("not_json"));
        return;
    }
    if is_unclear(data) {
        assert!(result.is_err(), "the raw row holds no half characters");
        return;
    }
    let routes = ROUTES.iter().filter(|(event, _)| *event == "*" || *event == event_type);
    for column in routes.flat_map(|(_, columns)| *columns) {
        match expected(column, event_type, data) {
            Expected::Refused => {
                let code = result.expect_err("a value that does not fit");
                let missing = column.source.starts_with('/')
                    && matches!(json::lookup(data, column.source), None | Some("null"));
                assert_eq!(code == "missing_field", missing, "{column:?}: {code}");
                return;
            }
            Expected::Open => return,
            _ => {}
        }
    }
    assert_eq!(result, Ok(()), "{data}");
}
