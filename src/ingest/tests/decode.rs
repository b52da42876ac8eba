//! The decoder through its narrow door: what it says of an event before any batch is chosen.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::time::{Duration, Instant};

use ingest::fuzzing::{Bench, Column};

const INT8: u32 = 20;
const JSONB: u32 = 3802;

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
    }
    // Routes that look into no data can do with any; whoever takes it, it is not split.
    assert_eq!(bench.split("a", "{").unwrap_err().0, "not_json");
    assert_eq!(bench.split("of no route", "{\"order\":{\"id\":1}").unwrap(), None);
    assert_eq!(Bench::new(routes).split("a", r#"{"order":{"id":1}}"#).unwrap(), None);
}

/// The time of several runs that least was in the way of.
fn least(mut run: impl FnMut()) -> Duration {
    let times = (0..7).map(|_| {
        let begin = Instant::now();
        run();
        begin.elapsed()
    });
    times.min().unwrap()
}

#[test]
fn the_work_grows_with_the_bytes_of_an_event_and_no_faster() {
    let payload = Column { oid: JSONB, ..column("/payload") };
    let mut bench = Bench::new(&[("*", &[column("$id"), payload, column("/payload/9/n")])]);
    type Shape = fn(usize) -> String;
    let shapes: [(&str, Shape); 5] = [
        ("escapes", |n| format!(r#"{{"payload":"{}"}}"#, r"\\\u00e9".repeat(n))),
        ("keys", |n| format!(r#"{{"payload":[{}1]}}"#, r#"{"n":1},"#.repeat(n))),
        ("equal keys", |n| format!(r#"{{{}"z":1}}"#, r#""payload":1,"#.repeat(n))),
        ("depth", |n| format!(r#"{{"payload":{}1{}}}"#, "[".repeat(n), "]".repeat(n))),
        ("an open end", |n| format!(r#"{{"payload":{}"#, "[\"".repeat(n))),
    ];
    for (shape, text) in shapes {
        let mut time = |n| {
            let data = text(n);
            least(|| {
                bench.clear();
                let _ = bench.decode(0, 1, "a", &data);
            })
        };
        let (short, long) = (time(4_000), time(64_000));
        // Sixteen times the bytes: 256 times the work would be quadratic.
        assert!(long < 80 * short.max(Duration::from_micros(5)), "{shape}: {short:?}, {long:?}");
    }
}
