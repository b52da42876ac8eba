//! Bytes to encoded rows on one core: the parser, finding an event's values, encoding the rows of
//! all its routes, and the three together. `make profile` draws a flame graph of the last.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use criterion::profiler::Profiler;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ingest::fuzzing::Bench;
use sse::{Item, Limits, Parser};

mod restaurant;

const EVENTS: usize = 20_000;
/// What a batch holds by default; its buffers are used again.
const BATCH: usize = 5_000;
const CHUNK_BYTES: usize = 16 * 1024;

fn each_event(chunks: &[Bytes], mut take: impl FnMut(usize, &sse::Event<'_>)) {
    let mut parser = Parser::new(Limits::default());
    let mut events = 0;
    for chunk in chunks {
        parser.push(chunk.clone());
        while let Some(item) = parser.next() {
            if let Item::Event(event) = item {
                take(events, &event);
                events += 1;
            }
        }
    }
    assert_eq!(events, EVENTS);
}

fn encode(bench: &mut Bench, number: usize, event: &str, data: &str) {
    if number.is_multiple_of(BATCH) {
        bench.clear();
    }
    bench.decode(number, number as i64, event, data).expect("every event of the corpus lands");
}

fn decode(criterion: &mut Criterion) {
    let wire = Bytes::from(restaurant::corpus::wire(EVENTS));
    let ends = (0..wire.len()).step_by(CHUNK_BYTES);
    let chunks: Vec<Bytes> =
        ends.map(|at| wire.slice(at..wire.len().min(at + CHUNK_BYTES))).collect();
    let mut events = Vec::new();
    each_event(&chunks, |_, event| events.push((event.event.to_owned(), event.data.to_owned())));
    let mut bench = restaurant::bench();

    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("parse", |timer| {
        timer.iter(|| each_event(&chunks, |_, event| _ = black_box(event)));
    });
    group.bench_function("find", |timer| {
        timer.iter(|| {
            for (event, data) in &events {
                black_box(bench.split(event, data).expect("JSON"));
            }
        });
    });
    group.bench_function("find and encode", |timer| {
        timer.iter(|| {
            for (number, (event, data)) in events.iter().enumerate() {
                encode(&mut bench, number, event, data);
            }
        });
    });
    group.bench_function("wire to rows", |timer| {
        timer.iter(|| {
            each_event(&chunks, |number, event| {
                encode(&mut bench, number, event.event, event.data);
            });
        });
    });
}

/// Draws what `--profile-time` asks for.
struct FlameGraph(Option<pprof::ProfilerGuard<'static>>);

impl Profiler for FlameGraph {
    fn start_profiling(&mut self, _: &str, _: &Path) {
        self.0 = Some(pprof::ProfilerGuard::new(997).expect("a profiling timer"));
    }

    fn stop_profiling(&mut self, _: &str, folder: &Path) {
        let Some(guard) = self.0.take() else { return };
        std::fs::create_dir_all(folder).expect("a folder for the flame graph");
        let path = folder.join("flamegraph.svg");
        let file = File::create(&path).expect("a file for the flame graph");
        guard.report().build().expect("samples").flamegraph(file).expect("a flame graph");
        println!("wrote {}", path.display());
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .with_profiler(FlameGraph(None));
    targets = decode
}
criterion_main!(benches);
