//! `GET /prometheus`: numbers about this server and about the pipeline.
//!
//! What is not known is not there: a series that keeps its last value, or says 0 where nobody
//! looked, makes an empty or dead system look fresh.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::{
    Encoder, Error, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry, TextEncoder,
};

use super::App;
use super::parameters::{Parameters, Rejection};
use crate::token::Role;

/// Seconds; a question about an hour takes a few milliseconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Counters since the start.
pub struct Meters {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
}

impl Meters {
    /// # Errors
    /// If two of the names below are the same.
    pub fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("metrics_api_requests_total", "Answers by method, path and status."),
            &["method", "path", "status"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "metrics_api_request_duration_seconds",
                "Time until the head of an answer, by method and path.",
            )
            .buckets(BUCKETS.to_vec()),
            &["method", "path"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        Ok(Self { registry, requests, durations })
    }
}

/// Counts an answer. Unknown paths and methods share one label each, so that no visitor can grow
/// the table.
pub(super) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let method = if request.method() == Method::GET { "GET" } else { "other" };
    let begun = Instant::now();
    let response = next.run(request).await;
    let path = path.as_ref().map_or("other", |path| path.as_str());
    let meters = &app.meters;
    meters.requests.with_label_values(&[method, path, response.status().as_str()]).inc();
    meters.durations.with_label_values(&[method, path]).observe(begun.elapsed().as_secs_f64());
    response
}

pub(super) async fn prometheus(
    State(app): State<Arc<App>>,
    parameters: Parameters,
) -> Result<Response, Rejection> {
    parameters.finish("none")?;
    let mut families = app.meters.registry.gather();
    let mut text = Vec::new();
    match gauges(&app) {
        Ok(registry) => families.extend(registry.gather()),
        Err(error) => tracing::error!("the gauges cannot be told: {error}"),
    }
    let encoder = TextEncoder::new();
    if let Err(error) = encoder.encode(&families, &mut text) {
        tracing::error!("the numbers cannot be told: {error}");
    }
    Ok(([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response())
}

/// Everything that is so at this moment, made anew for each look.
fn gauges(app: &App) -> Result<Registry, Error> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, labels: &[&str]| {
        let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(gauge.clone()))?;
        Ok::<_, Error>(gauge)
    };
    let one = |name: &str, help: &str, value: f64| {
        gauge(name, help, &[])?.with_label_values::<&str>(&[]).set(value);
        Ok::<_, Error>(())
    };
    let sum = |name: &str, help: &str, value: u64| {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        registry.register(Box::new(counter))
    };
    let counts = app.hub.counts();
    let sessions = app.store.sessions();
    one("metrics_api_live_clients", "Clients on /live.", counts.clients.load(Relaxed) as f64)?;
    one("metrics_api_live_filters", "Different filters on /live.", app.hub.filters() as f64)?;
    sum(
        "metrics_api_live_batches_total",
        "Batches of messages sent since the start.",
        counts.batches.load(Relaxed),
    )?;
    sum(
        "metrics_api_live_evicted_total",
        "Clients sent away since the start because they were too slow.",
        counts.evicted.load(Relaxed),
    )?;
    sum(
        "metrics_api_cut_off_total",
        "Connections ended since the start because nothing was taken from them.",
        counts.cut_off.load(Relaxed),
    )?;
    sum(
        "metrics_api_live_resumed_total",
        "Clients since the start that got just what they had missed.",
        counts.resumed.load(Relaxed),
    )?;
    one(
        "metrics_api_listening",
        "1 while commits are heard of, 0 while they are looked for.",
        f64::from(app.sampler.listening()),
    )?;
    let pool = gauge("metrics_api_sessions", "Sessions with the database by state.", &["state"])?;
    pool.with_label_values(&["idle"]).set(sessions.idle as f64);
    pool.with_label_values(&["busy"]).set(sessions.open.saturating_sub(sessions.idle) as f64);
    pool.with_label_values(&["most"]).set(sessions.most as f64);
    pool.with_label_values(&["waited_for"]).set(sessions.waiting as f64);

    let (last, _) = app.sampler.last();
    let pipeline = app.sampler.pipeline(Role::Viewer);
    let up = f64::from(pipeline.database.reachable);
    one("metrics_api_database_up", "1 while the database answers.", up)?;
    if let Some(age) = pipeline.database.age_s {
        one("metrics_api_books_age_seconds", "Time since the database answered.", age)?;
    }
    if let Some(reachable) = pipeline.source.reachable {
        one("sse_stream_source_up", "1 while the source answers.", f64::from(reachable))?;
    }
    let Some((_, books)) = last.filter(|_| pipeline.database.reachable) else {
        // Whatever was known of the streams is of another time.
        return Ok(registry);
    };
    one(
        "metrics_api_recent_orders",
        "Orders of the last five minutes.",
        books.recent_orders as f64,
    )?;
    let data = pipeline.streams.first().and_then(|stream| stream.data_age_s);
    one("sse_stream_has_data", "1 if there is any order at all.", f64::from(data.is_some()))?;
    if let Some(age) = data {
        one("sse_stream_data_age_seconds", "Time since the newest order was made.", age)?;
    }
    if let Some(run) = books.runs.first() {
        // One that died without a word never ends: it runs as long as its stream is heard.
        let heard = books.streams.iter().filter_map(|stream| stream.heard_age).reduce(f64::min);
        let age = match run.ended_at {
            Some(_) => run.age,
            None => heard.map_or(run.age, |heard| heard.min(run.age)),
        };
        one(
            "sse_stream_run_age_seconds",
            "Time since the last run ended, or since the one that runs heard anything.",
            age.max(0.0),
        )?;
    }
    let failed = books.runs.iter().filter(|run| run.has_failed()).count();
    one("sse_stream_recent_failed_runs", "Failed ones among the last ten runs.", failed as f64)?;

    let labels = ["stream", "shard"];
    let heard =
        gauge("sse_stream_heard", "1 if the source of the stream was ever heard.", &labels)?;
    let heard_age =
        gauge("sse_stream_heard_age_seconds", "Time since the source was heard.", &labels)?;
    let position =
        gauge("sse_stream_position", "Offset up to which everything is committed.", &labels)?;
    let highest = gauge("sse_stream_highest", "Highest committed offset.", &labels)?;
    let lag =
        gauge("sse_stream_lag_events", "Events of the source that are not committed.", &labels)?;
    let pace = gauge("sse_stream_events_per_second", "Committed events per second.", &labels)?;
    let letters = gauge("sse_stream_dead_letters_open", "Events that did not land.", &labels)?;
    let gaps = gauge("sse_stream_gaps_open", "Gaps that are not repaired.", &labels)?;
    let missed =
        gauge("sse_stream_missed_events", "Offsets in gaps that are not repaired.", &labels)?;
    let waiting =
        gauge("sse_stream_waiting_events", "Events that wait for their parent.", &labels)?;
    for stream in &pipeline.streams {
        let shard = stream.shard.to_string();
        let of = [stream.stream.as_str(), shard.as_str()];
        heard.with_label_values(&of).set(f64::from(stream.heard_age_s.is_some()));
        if stream.writers == 0 {
            continue;
        }
        let known = [
            (&heard_age, stream.heard_age_s),
            (&lag, stream.lag_events.map(|lag| lag as f64)),
            (&pace, stream.events_per_second),
            (&position, Some(stream.position as f64)),
            (&highest, Some(stream.highest as f64)),
            (&letters, Some(stream.dead_letters_open as f64)),
            (&gaps, Some(stream.gaps_open as f64)),
            (&missed, Some(stream.missed_events as f64)),
            (&waiting, Some(stream.waiting as f64)),
        ];
        for (gauge, value) in known {
            if let Some(value) = value {
                gauge.with_label_values(&of).set(value);
            }
        }
    }
    Ok(registry)
}
