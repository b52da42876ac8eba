//! How fast the parser reads events of about 460 bytes, by chunk size:
//! `cargo run --release -p sse --example parser_speed`

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use sse::{Item, Limits, Parser};

const EVENTS: usize = 400_000;

fn main() {
    let mut corpus = Vec::new();
    for offset in 1..=EVENTS {
        let note = "x".repeat(290 + offset % 80);
        let block = format!(
            "id: {offset}\nevent: order_created\ndata: {{\"offset\":{offset},\"event_type\":\
             \"order_created\",\"partition_key\":\"LOC-ON-001\",\"payload\":\"{note}\"}}\n\n"
        );
        corpus.extend_from_slice(block.as_bytes());
    }
    let corpus = Bytes::from(corpus);
    println!("{} bytes per event", corpus.len() / EVENTS);
    for chunk_bytes in [64, 256, 1024, 4096, 8192, 65_536, 1 << 20, corpus.len()] {
        let mut best = f64::INFINITY;
        for _ in 0..7 {
            let start = Instant::now();
            let (events, data_bytes) = read(&corpus, chunk_bytes);
            assert_eq!(events, EVENTS);
            black_box(data_bytes);
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!(
            "chunks of {chunk_bytes:>9} B: {:.2} GB/s, {:.2} M events/s",
            corpus.len() as f64 / best / 1e9,
            EVENTS as f64 / best / 1e6
        );
    }
}

fn read(corpus: &Bytes, chunk_bytes: usize) -> (usize, usize) {
    let mut parser = Parser::new(Limits::default());
    let (mut events, mut data_bytes) = (0, 0);
    let mut at = 0;
    while at < corpus.len() {
        let end = corpus.len().min(at + chunk_bytes);
        parser.push(corpus.slice(at..end));
        at = end;
        while let Some(item) = parser.next() {
            if let Item::Event(event) = item {
                events += 1;
                data_bytes += black_box(event.data).len();
            }
        }
    }
    (events, data_bytes)
}
