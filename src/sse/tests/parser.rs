//! The parser: the shared cases, and what holds for any bytes in any pieces.

#![allow(clippy::unwrap_used)]

mod cases;
mod replay;

use bytes::Bytes;
use cases::{Owned, parse};
use proptest::prelude::*;
use sse::{Item, Limits, Parser};

#[test]
fn every_shared_case_passes_in_every_chunking() {
    for case in cases::load() {
        let expected = case.expected();
        for (chunking, chunks) in case.chunkings() {
            let mut parser = case.parser();
            let items = parse(&mut parser, &chunks);
            let at = format!("{} ({}, {chunking})", case.name, case.source);
            if items != expected {
                let show = |items: &[Owned]| {
                    let text = format!("{items:#?}");
                    text.chars().take(4000).collect::<String>()
                };
                panic!("{at}: expected {}\ngot {}", show(&expected), show(&items));
            }
            let id = String::from_utf8_lossy(parser.last_event_id());
            assert_eq!(id, case.last_event_id, "{at}");
        }
    }
}

#[test]
fn the_kept_fuzz_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/parser");
    let mut inputs = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        replay::check(&std::fs::read(file.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 20, "only {inputs} inputs in {corpus}");
}

#[test]
fn the_common_event_is_borrowed_from_its_chunk() {
    let chunk = Bytes::from_static(b"id: 1\nevent: order\ndata: {\"a\":1}\n\n");
    let range = chunk.as_ptr_range();
    let mut parser = Parser::new(Limits::default());
    parser.push(chunk);
    let Some(Item::Event(event)) = parser.next() else {
        panic!("no event");
    };
    assert!(range.contains(&event.data.as_ptr()));
    assert!(range.contains(&event.event.as_ptr()));
}

#[test]
fn a_chunk_pushed_too_early_loses_nothing() {
    let mut parser = Parser::new(Limits::default());
    parser.push(Bytes::from_static(b"data: a\n\nid: 1\ndata: b\n"));
    assert!(matches!(parser.next(), Some(Item::Event(event)) if event.data == "a"));
    parser.push(Bytes::from_static(b"\ndata: c"));
    parser.push(Bytes::from_static(b"\n\n"));
    assert!(matches!(parser.next(), Some(Item::Event(event)) if event.data == "b"));
    assert!(matches!(parser.next(), Some(Item::Event(event)) if event.data == "c"));
    assert_eq!(parser.next(), None);
}

#[test]
fn retry_is_remembered() {
    let mut parser = Parser::new(Limits::default());
    parser.push(Bytes::from_static(b"retry: 30\nretry: x\n"));
    assert!(parser.next().is_some());
    assert_eq!(parser.next(), None);
    assert_eq!(parser.retry().unwrap().as_millis(), 30);
}

/// Bytes made of what a parser of this format could trip over.
fn stream_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b"\n".to_vec()),
        2 => Just(b"\r".to_vec()),
        2 => Just(b"\r\n".to_vec()),
        2 => Just(b"\n\n".to_vec()),
        4 => Just(b"data: ".to_vec()),
        2 => Just(b"data".to_vec()),
        2 => Just(b"id: ".to_vec()),
        1 => Just(b"id".to_vec()),
        2 => Just(b"event:".to_vec()),
        1 => Just(b"retry: ".to_vec()),
        1 => Just(b":".to_vec()),
        1 => Just(b" ".to_vec()),
        1 => Just(b"\0".to_vec()),
        1 => Just(b"\xEF\xBB\xBF".to_vec()),
        1 => Just("\u{20ac}\u{1f600}".as_bytes().to_vec()),
        1 => Just(b"12345".to_vec()),
        3 => proptest::collection::vec(any::<u8>(), 0..6),
        1 => (any::<u8>(), 1..60_usize).prop_map(|(byte, times)| vec![byte; times]),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn pieces(input: &[u8], cuts: &[prop::sample::Index]) -> Vec<Bytes> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    at.extend([0, input.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| Bytes::copy_from_slice(&input[pair[0]..pair[1]])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_chunking_gives_the_same_items(
        input in stream_like(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        max_line_bytes in 16..80_usize,
        max_event_bytes in 0..120_usize,
        unlimited in any::<bool>(),
    ) {
        let small = Limits { max_line_bytes, max_event_bytes };
        let limits = if unlimited { Limits::default() } else { small };
        let run = |chunks: &[Bytes]| {
            let mut parser = Parser::new(limits);
            let items = parse(&mut parser, chunks);
            (items, parser.last_event_id().to_vec(), parser.retry())
        };
        let whole = run(&[Bytes::copy_from_slice(&input)]);
        prop_assert_eq!(&whole, &run(&pieces(&input, &cuts)));
        let single: Vec<Bytes> = input.chunks(1).map(Bytes::copy_from_slice).collect();
        prop_assert_eq!(&whole, &run(&single));
    }

    #[test]
    fn what_was_written_is_read(
        blocks in proptest::collection::vec(("[a-z]{1,8}", "[^\r\n\0]{0,20}", "[^\r]{0,60}"), 0..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        end in prop_oneof![Just("\n"), Just("\r"), Just("\r\n")],
    ) {
        let mut input = String::new();
        for (event, id, data) in &blocks {
            input += &format!("event: {event}{end}id: {id}{end}");
            for line in data.split('\n') {
                input += &format!("data: {line}{end}");
            }
            input += end;
        }
        let mut parser = Parser::new(Limits::default());
        let items = parse(&mut parser, &pieces(input.as_bytes(), &cuts));
        let written: Vec<Owned> = blocks
            .into_iter()
            .map(|(event, id, data)| Owned::Event {
                id: id.into_bytes(), own_id: true, event, data, raw_data: None,
            })
            .collect();
        prop_assert_eq!(items, written);
    }

    #[test]
    fn nothing_that_comes_out_is_over_the_limits(input in stream_like()) {
        let limits = Limits { max_line_bytes: 20, max_event_bytes: 30 };
        let chunks: Vec<Bytes> = input.chunks(7).map(Bytes::copy_from_slice).collect();
        for item in parse(&mut Parser::new(limits), &chunks) {
            match item {
                Owned::Event { data, raw_data, event, id, .. } => {
                    prop_assert!(raw_data.map_or(data.len(), |raw| raw.len()) <= 30);
                    prop_assert!(event.len() <= 3 * 20 && id.len() <= 20);
                }
                Owned::Comment(text) => prop_assert!(text.len() <= 20),
                Owned::Oversize { head, bytes, .. } => prop_assert!(head.len() as u64 <= bytes),
                Owned::Retry(_) | Owned::IdOnly(_) => {}
            }
        }
    }
}
