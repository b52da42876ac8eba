//! What the generator costs: making events, appending them, reading them back, a page of history.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use restaurant_api::http::{App, Metrics, router};
use restaurant_api::log::{Continued, Found, Log, Retention};
use restaurant_api::simulator::{Settings, Simulator, State, Step};
use restaurant_api::wire::Encoder;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use uuid::Uuid;

const RETENTION: Retention = Retention { events: 400_000, bytes: 1 << 30 };
/// Events of one append, at least.
const STEP: usize = 512;
const HISTORY: u64 = 200_000;

fn simulator(state: State) -> Simulator {
    let hour = 3_600_000_000;
    let settings =
        Settings { seed: 1, epoch: Uuid::from_u128(1), feedback_delay: (hour, 168 * hour) };
    Simulator::new(settings, state)
}

/// Orders of simulated time, five a second, and the answers that become due.
fn fill(simulator: &mut Simulator, step: &mut Step) {
    step.clear();
    while step.events.len() < STEP {
        let now = simulator.state().last_ts + 200_000;
        while simulator.next_due().is_some_and(|due| due <= now) {
            simulator.feedback(now, step);
        }
        simulator.order(now, step);
    }
}

/// A directory on disk that is removed in the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("restaurant-api-bench-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> Continued {
        Log::open(&self.0, Some(1), RETENTION, || (1, Uuid::from_u128(1))).expect("a log")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A directory with `HISTORY` events, on which a server may start cold.
fn history(name: &str) -> Dir {
    let dir = Dir::new(name);
    let Continued { log, state, .. } = dir.open();
    let (mut simulator, mut step) = (simulator(state), Step::default());
    while log.bounds().last < HISTORY {
        fill(&mut simulator, &mut step);
        log.append(&step, simulator.state()).expect("room on the disk");
    }
    log.close().expect("a clean end");
    dir
}

fn generate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generate");
    group.throughput(Throughput::Elements(STEP as u64));

    let (mut chain, mut step) = (simulator(State::default()), Step::default());
    group.bench_function("simulate", |bencher| bencher.iter(|| fill(&mut chain, &mut step)));

    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            for event in &step.events[..STEP] {
                black_box(encoder.block(1_000_000, event, &mut out));
            }
        });
    });

    let (mut chain, log) = (simulator(State::default()), Log::in_memory(RETENTION));
    group.bench_function("append_memory", |bencher| {
        bencher.iter(|| {
            fill(&mut chain, &mut step);
            log.append(&step, chain.state()).expect("memory")
        });
    });

    let dir = Dir::new("append");
    let Continued { log, state, .. } = dir.open();
    let mut chain = simulator(state);
    group.bench_function("append_disk", |bencher| {
        bencher.iter(|| {
            fill(&mut chain, &mut step);
            log.append(&step, chain.state()).expect("room on the disk")
        });
    });
    log.close().expect("a clean end");
}

/// The whole log, page by page, none of them in the server's own memory.
fn read_back(criterion: &mut Criterion) {
    let dir = history("read");
    let runtime = Runtime::new().expect("a runtime");
    let log = dir.open().log;
    let last = log.bounds().last;
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(last));
    group.bench_function("cold", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let mut at = 0;
                while let Found::Page(page) = log.read(at).await {
                    at = page.first() + page.len() as u64 - 1;
                }
                assert_eq!(at, last);
            });
        });
    });
    log.close().expect("a clean end");
    group.bench_function("start", |bencher| {
        bencher.iter(|| {
            let log = dir.open().log;
            assert_eq!(log.bounds().last, last);
            log.close().expect("a clean end");
        });
    });
}

/// `GET /events?limit=5000` over a socket: question, answer, every byte read.
fn page(criterion: &mut Criterion) {
    let dir = history("page");
    let Continued { log, epoch, .. } = dir.open();
    let runtime = Runtime::new().expect("a runtime");
    let (_stop, stopping) = watch::channel(false);
    let app = App {
        log: Arc::new(log),
        epoch,
        heartbeat: Duration::from_secs(2),
        metrics: Arc::new(Metrics::default()),
        started: Instant::now(),
        stop: stopping,
        token: None,
        max_streams: 1,
    };
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))))
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(axum::serve(listener, router(Arc::new(app))).into_future());

    let mut socket = TcpStream::connect(address).expect("the server");
    let (mut buffer, mut since) = (vec![0; 4 << 20], 0);
    let mut group = criterion.benchmark_group("page");
    group.throughput(Throughput::Elements(5000));
    group.bench_function("5000", |bencher| {
        bencher.iter(|| {
            since = (since + 5000) % (HISTORY - 5000);
            let request =
                format!("GET /events?since={since}&limit=5000 HTTP/1.1\r\nHost: x\r\n\r\n");
            socket.write_all(request.as_bytes()).expect("a server that listens");
            answer(&mut socket, &mut buffer)
        });
    });
}

/// Reads one answer and returns the length of its body.
fn answer(socket: &mut TcpStream, buffer: &mut [u8]) -> usize {
    let (mut read, mut whole) = (0, usize::MAX);
    while read < whole {
        let count = socket.read(&mut buffer[read..]).expect("an answer");
        assert!(count > 0, "the server hung up");
        read += count;
        if whole == usize::MAX
            && let Some(end) = memchr::memmem::find(&buffer[..read], b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&buffer[..end]);
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.and_then(|length| length.parse::<usize>().ok());
            whole = end + 4 + length.expect("a length");
        }
    }
    assert!(whole > 1 << 20, "the page is not full");
    whole
}

criterion_group!(benches, generate, read_back, page);
criterion_main!(benches);
