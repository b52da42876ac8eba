//! The decoder through its narrow door: what it says of an event before any batch is chosen.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use ingest::fuzzing::{Bench, Column};

const INT8: u32 = 20;

const fn column(source: &'static str) -> Column {
    Column { source, oid: INT8, modifier: -1, required: true }
}

#[test]
fn the_value_that_events_are_split_by_is_known_before_they_are_encoded() {
    let routes: &[(&str, &[Column])] = &[("*", &[column("$id")]), ("a", &[column("/n")])];
    let mut bench = Bench::split_by(Some("/order/id"), routes);
    for event_type in ["a", "of no route"] {
        for (data, split) in [
            (r#"{"n":1,"order":{"id":"x\u0041"}}"#, Some(r#""x\u0041""#)),
            (r#"{"order":{"id":1,"id":2}}"#, Some("2")),
            (r#"{"order":{"id":null}}"#, Some("null")),
            (r#"{"order":[7]}"#, None),
            ("7", None),
        ] {
            assert_eq!(bench.split(event_type, data).unwrap(), split, "{data}");
        }
        assert_eq!(bench.split(event_type, "{").unwrap_err().0, "not_json");
    }
    assert_eq!(Bench::new(routes).split("a", r#"{"order":{"id":1}}"#).unwrap(), None);
}
