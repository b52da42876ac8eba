//! The parser alone, at several chunk sizes: against `eventsource-stream`, and against finding the
//! line ends and nothing else, which is what memory and one search per byte cost.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use eventsource_stream::Eventsource;
use futures_util::{FutureExt, StreamExt, stream};
use sse::{Item, Limits, Parser};

mod corpus;

const EVENTS: usize = 20_000;
const CHUNKS: [(&str, usize); 4] =
    [("1KiB", 1 << 10), ("8KiB", 8 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20)];

fn chunked(wire: &[u8], size: usize) -> Vec<Bytes> {
    let wire = Bytes::copy_from_slice(wire);
    (0..wire.len()).step_by(size).map(|at| wire.slice(at..wire.len().min(at + size))).collect()
}

fn ours(chunks: &[Bytes]) -> usize {
    let mut parser = Parser::new(Limits::default());
    let mut events = 0;
    for chunk in chunks {
        parser.push(chunk.clone());
        while let Some(item) = parser.next() {
            events += usize::from(matches!(black_box(item), Item::Event(_)));
        }
    }
    events
}

/// The peer needs no runtime here: its source is never pending.
fn theirs(chunks: &[Bytes]) -> usize {
    let chunks = stream::iter(chunks.iter().cloned().map(Ok::<_, std::convert::Infallible>));
    let count = chunks.eventsource().fold(0, |events, event| async move {
        black_box(&event);
        events + usize::from(event.is_ok())
    });
    count.now_or_never().expect("a source that is always ready")
}

fn lines(chunks: &[Bytes]) -> usize {
    chunks.iter().map(|chunk| memchr::memchr_iter(b'\n', chunk).map(black_box).count()).sum()
}

fn parsers(criterion: &mut Criterion) {
    let wire = corpus::wire(EVENTS);
    for (name, run) in [
        ("ours", ours as fn(&[Bytes]) -> usize),
        ("eventsource-stream", theirs),
        ("line ends only", lines),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        for (label, size) in CHUNKS {
            let chunks = chunked(&wire, size);
            let found = run(&chunks);
            assert!(found == EVENTS || found == 4 * EVENTS, "{name} found {found}");
            group.bench_with_input(BenchmarkId::from_parameter(label), &chunks, |bench, chunks| {
                bench.iter(|| run(chunks));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = parsers
}
criterion_main!(benches);
