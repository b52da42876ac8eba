//! Numbers about the server: gathered everywhere, shown as Prometheus text.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::App;
use super::parameters::{Parameters, Rejection};

/// Over how long `rate` is measured.
const WINDOW: Duration = Duration::from_secs(10);

/// Counters since the process started.
#[derive(Default)]
pub struct Metrics {
    events: AtomicU64,
    bytes: AtomicU64,
    sent: AtomicU64,
    gaps: AtomicU64,
    clients: AtomicI64,
    not_asked: AtomicU64,
    due: AtomicU64,
    stalled: AtomicBool,
    /// Events generated so far, at about one moment per second.
    samples: Mutex<VecDeque<(Instant, u64)>>,
    requests: Mutex<BTreeMap<(String, u16), u64>>,
}

impl Metrics {
    /// Counts an append.
    pub fn generated(&self, events: usize, bytes: usize, due: usize, not_asked: u64) {
        let total = self.events.fetch_add(events as u64, Relaxed) + events as u64;
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.not_asked.fetch_add(not_asked, Relaxed);
        self.due.store(due as u64, Relaxed);
        let now = Instant::now();
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.back().is_none_or(|(at, _)| now - *at >= WINDOW / 10) {
            samples.push_back((now, total));
            if samples.len() > 16 {
                samples.pop_front();
            }
        }
    }

    /// Says whether the log refuses events at present.
    pub fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Relaxed);
    }

    pub(super) fn stalled(&self) -> bool {
        self.stalled.load(Relaxed)
    }

    /// Events per second over the last ten seconds, or since the start if that is later.
    pub(super) fn rate(&self) -> f64 {
        let now = Instant::now();
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        // The latest sample that is not younger than the window, or the oldest there is. What came
        // behind it came within the window: otherwise there would be a later sample.
        let old = samples.partition_point(|(at, _)| now - *at >= WINDOW);
        let Some((at, before)) = samples.get(old.saturating_sub(1)) else {
            return 0.0;
        };
        let elapsed = (now - *at).min(WINDOW).as_secs_f64();
        let events = self.events.load(Relaxed) - before;
        if elapsed > 0.0 { events as f64 / elapsed } else { 0.0 }
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn gap(&self) {
        self.gaps.fetch_add(1, Relaxed);
    }

    /// Clients connected to `/stream`.
    pub fn clients(&self) -> u64 {
        self.clients.load(Relaxed).max(0) as u64
    }

    /// Counts a client for as long as the guard lives; none where there are `most` already.
    pub(super) fn listen(self: &Arc<Self>, most: usize) -> Option<Listening> {
        let room = |clients| (clients < most as i64).then_some(clients + 1);
        self.clients.fetch_update(Relaxed, Relaxed, room).ok()?;
        Some(Listening(Arc::clone(self)))
    }

    pub(super) fn request(&self, route: &str, status: StatusCode) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.into(), status.as_u16())).or_default() += 1;
    }
}

pub(super) struct Listening(Arc<Metrics>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Relaxed);
    }
}

pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    parameters: Parameters,
) -> Result<Response, Rejection> {
    parameters.finish("none")?;
    let metrics = &app.metrics;
    let bounds = app.log.bounds();
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(
            text,
            "# HELP restaurant_api_{name} {help}\n# TYPE restaurant_api_{name} {kind}\n\
             restaurant_api_{name} {value}"
        );
    };
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    put(
        "events_generated_total",
        "counter",
        "Events appended to the log since the process started.",
        get(&metrics.events),
    );
    put(
        "bytes_generated_total",
        "counter",
        "Bytes of SSE blocks appended to the log since the process started.",
        get(&metrics.bytes),
    );
    put(
        "stream_bytes_sent_total",
        "counter",
        "Bytes handed to the sockets of /stream.",
        get(&metrics.sent),
    );
    put(
        "gaps_sent_total",
        "counter",
        "Gap events sent to clients that had fallen behind retention.",
        get(&metrics.gaps),
    );
    put("stream_clients", "gauge", "Clients connected to /stream.", metrics.clients());
    put("feedback_due", "gauge", "Feedback that waits for its time.", get(&metrics.due));
    put(
        "feedback_not_asked_total",
        "counter",
        "Guests who were not asked because too much feedback was waiting.",
        get(&metrics.not_asked),
    );
    put("log_first_offset", "gauge", "Oldest retained offset.", bounds.first);
    put("log_last_offset", "gauge", "Newest offset.", bounds.last);
    put("log_bytes", "gauge", "Bytes of the retained SSE blocks.", bounds.bytes);
    let name = "restaurant_api_requests_total";
    let _ = writeln!(text, "# HELP {name} Answers by route and status.\n# TYPE {name} counter");
    let requests = metrics.requests.lock().unwrap_or_else(PoisonError::into_inner);
    for ((route, status), count) in requests.iter() {
        let _ = writeln!(text, "{name}{{route=\"{route}\",status=\"{status}\"}} {count}");
    }
    drop(requests);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}
