//! The parser against `eventsource-stream` 0.2.3: equal where that crate follows the standard,
//! and a list of where it does not, kept exact by the test.

#![allow(clippy::unwrap_used)]

mod cases;

use std::convert::Infallible;
use std::panic::catch_unwind;

use bytes::Bytes;
use cases::Owned;
use eventsource_stream::Eventsource;
use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;
use sse::{Limits, Parser};

const BOM: &str = "it panics on a byte order mark";
const CR: &str = "it holds back a line that ends in CR until another byte comes";
const UTF8: &str = "it stalls on invalid UTF-8 and fails at the end";
const RESUME: &str = "it has no id to start from: an event without id resets it";
const ID_ONLY: &str = "it keeps no id of a block without data to resume from";
const LIMITS: &str = "it has no limits";

/// Name or start of the name of a shared case, and why the other crate differs there.
const DIVERGENCES: &[(&str, &str)] = &[
    ("format-bom", BOM),
    ("BOM at", BOM),
    ("BOM before", BOM),
    ("BOM split", BOM),
    ("BOM and", BOM),
    ("empty first chunk, then BOM", BOM),
    ("a BOM in front", BOM),
    ("CR: ", CR),
    ("CR ends a block", CR),
    ("CR CR ends a block", CR),
    ("invalid UTF-8", UTF8),
    ("cut UTF-8", UTF8),
    ("the start of a BOM that is none", UTF8),
    ("format-field-id: resumed", RESUME),
    ("resumed: ", RESUME),
    ("id-only block at the end", ID_ONLY),
    ("line over the limit", LIMITS),
    ("endless line", LIMITS),
    ("event over the limit", LIMITS),
    ("only the first 64 KiB", LIMITS),
    ("an overlong id", LIMITS),
    ("an overlong event type", LIMITS),
];

/// Type, data and id of each event, and the id to resume from: what both sides know.
type Read = (Vec<(String, String, String)>, String);

fn ours(parser: &mut Parser, chunks: &[Bytes]) -> Read {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let events = cases::parse(parser, chunks).into_iter().filter_map(|item| match item {
        Owned::Event { id, event, data, .. } => Some((event, data, text(&id))),
        _ => None,
    });
    (events.collect(), text(parser.last_event_id()))
}

/// What it reads from a stream that ends, or how it failed.
fn theirs(chunks: &[Bytes]) -> Result<Read, String> {
    let chunks: Vec<Bytes> = chunks.to_vec();
    let run = catch_unwind(move || {
        let mut stream = stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)).eventsource();
        let mut events = Vec::new();
        while let Some(event) = stream.next().now_or_never().ok_or("stall")? {
            let event = event.map_err(|error| error.to_string())?;
            events.push((event.event, event.data, event.id));
        }
        Ok((events, stream.last_event_id().to_owned()))
    });
    run.unwrap_or_else(|_| Err("panic".to_owned()))
}

#[test]
fn it_differs_on_exactly_the_listed_cases() {
    // Its panics are expected; their messages would only drown a real failure.
    std::panic::set_hook(Box::new(|_| {}));
    let mut wrong = Vec::new();
    let mut used = vec![false; DIVERGENCES.len()];
    for case in cases::load() {
        if case.input().len() > 200_000 {
            continue; // it is quadratic there
        }
        let differs = case
            .chunkings()
            .iter()
            .any(|(_, chunks)| theirs(chunks) != Ok(ours(&mut case.parser(), chunks)));
        let listed = DIVERGENCES.iter().position(|(name, _)| case.name.starts_with(name));
        match (differs, listed) {
            (true, Some(index)) => used[index] = true,
            (false, None) => {}
            (true, None) => wrong.push(format!("differs without a reason: {}", case.name)),
            (false, Some(_)) => wrong.push(format!("listed but equal: {}", case.name)),
        }
    }
    let _ = std::panic::take_hook();
    for ((name, reason), used) in DIVERGENCES.iter().zip(used) {
        if !used {
            wrong.push(format!("no such divergence: {name} ({reason})"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Streams inside the range where the other crate follows the standard: valid UTF-8, no byte
/// order mark, line ends LF or CRLF, data in every block that has an id.
fn tame_stream() -> impl Strategy<Value = String> {
    let value = "[ -~\u{e9}\u{20ac}\u{1f600}]{0,12}";
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    let line = prop_oneof![
        4 => value.prop_map(|text| format!("data: {text}")),
        1 => value.prop_map(|text| format!("data:{text}")),
        1 => Just("data".to_owned()),
        2 => "[a-z0-9]{0,6}".prop_map(|text| format!("id: {text}")),
        2 => value.prop_map(|text| format!("event: {text}")),
        1 => value.prop_map(|text| format!(":{text}")),
        1 => "[a-z]{1,5}: [a-z]{0,5}".prop_map(|text| text),
    ];
    let block = proptest::collection::vec((line, end.clone()), 0..6);
    proptest::collection::vec((block, end), 0..8).prop_map(|blocks| {
        let mut text = String::new();
        for (lines, end) in blocks {
            for (line, end) in lines {
                text += &line;
                text += end;
            }
            text += "data: last";
            text += end;
            text += end;
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn it_agrees_on_tame_streams(text in tame_stream(), size in 1..40_usize) {
        let chunks: Vec<Bytes> = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
        let mut parser = Parser::new(Limits::default());
        prop_assert_eq!(theirs(&chunks), Ok(ours(&mut parser, &chunks)));
    }
}
