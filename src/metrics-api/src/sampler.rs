//! The state of the pipeline, looked at each second for everybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use crate::listener::Commits;
use crate::source::Source;
use crate::store::{self, Books, Run, Site, Store, chain};
use crate::token::Role;

const PERIOD: Duration = Duration::from_secs(1);
const SITES_PERIOD: Duration = Duration::from_secs(60);
/// Silence of the source up to which a stream is live, and up to which it is late: a source that
/// gives a sign every two seconds is heard of here within one more.
const LIVE: f64 = 3.5;
const LATE: f64 = 5.0;
/// Over how long the pace is measured where commits are not heard of.
const PACE: Duration = Duration::from_secs(10);

/// What `/pipeline` answers.
#[derive(Clone, Debug, Serialize)]
pub struct Pipeline {
    pub server_time: Timestamp,
    pub database: Database,
    pub streams: Vec<StreamState>,
    pub runs: Vec<Run>,
    pub source: SourceState,
}

/// Whether the figures come from a database that answers.
#[derive(Clone, Debug, Serialize)]
pub struct Database {
    pub reachable: bool,
    /// Seconds since the books were read; null if they never were.
    pub age_s: Option<f64>,
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SourceState {
    pub head: Option<i64>,
    pub reachable: Option<bool>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StreamState {
    pub stream: String,
    pub shard: i32,
    pub writers: i32,
    pub position: i64,
    pub highest: i64,
    pub heard_age_s: Option<f64>,
    pub data_age_s: Option<f64>,
    pub lag_events: Option<i64>,
    pub events_per_second: Option<f64>,
    pub batches_per_minute: Option<usize>,
    pub dead_letters_open: i64,
    pub gaps_open: i64,
    pub missed_events: i64,
    pub waiting: i64,
    pub state: &'static str,
}

/// The last look, and the one before it as far as the pace needs it.
#[derive(Default)]
struct Seen {
    last: Option<(Instant, Arc<Books>)>,
    error: Option<String>,
    positions: HashMap<(String, i32), Vec<(Instant, i64)>>,
}

/// Looks each second.
pub struct Sampler {
    store: Store,
    stream: String,
    airflow_url: Option<String>,
    commits: Commits,
    source: Source,
    seen: Mutex<Seen>,
    sites: Mutex<Arc<Vec<Site>>>,
    looks: watch::Sender<u64>,
}

impl Sampler {
    /// A sampler that nobody moves yet; see [`Sampler::run`].
    pub fn new(
        store: Store,
        stream: String,
        airflow_url: Option<String>,
        commits: Commits,
        source: Source,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            stream,
            airflow_url,
            commits,
            source,
            seen: Mutex::default(),
            sites: Mutex::default(),
            looks: watch::Sender::new(0),
        })
    }

    /// Looks until the task is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut sites_read: Option<Instant> = None;
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
            if sites_read.is_none_or(|at| at.elapsed() >= SITES_PERIOD) && self.read_sites().await {
                sites_read = Some(Instant::now());
            }
        }
    }

    /// Looks now, whatever the clock says.
    pub async fn look(&self) {
        let read = async {
            let mut session = self.store.session().await?;
            let snapshot = store::snapshot(&mut session).await?;
            store::books(&snapshot, &self.stream).await
        };
        let found = store::in_time(read).await;
        let now = Instant::now();
        let mut seen = lock(&self.seen);
        match found {
            Ok(books) => {
                if seen.error.take().is_some() {
                    tracing::info!("the database answers again");
                }
                for stream in &books.streams {
                    let key = (stream.stream.clone(), stream.shard);
                    let past = seen.positions.entry(key).or_default();
                    past.retain(|(at, _)| now - *at <= PACE + PERIOD);
                    past.push((now, stream.position));
                }
                seen.last = Some((now, Arc::new(books)));
            }
            Err(error) => {
                if seen.error.is_none() {
                    tracing::warn!("the pipeline cannot be looked at: {}", chain(&error));
                }
                seen.error = Some(error.to_string());
            }
        }
        drop(seen);
        self.looks.send_modify(|count| *count += 1);
    }

    /// Changes with each look.
    pub fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
    }

    async fn read_sites(&self) -> bool {
        let read = async { store::sites(&self.store.session().await?).await };
        let Ok(sites) = store::in_time(read).await else {
            return false;
        };
        *lock(&self.sites) = Arc::new(sites);
        true
    }

    /// The sites, empty until they were read.
    pub fn sites(&self) -> Arc<Vec<Site>> {
        Arc::clone(&lock(&self.sites))
    }

    pub fn listening(&self) -> bool {
        self.commits.listening()
    }

    /// What was last read, how long ago, and what went wrong since.
    pub fn last(&self) -> (Option<(Duration, Arc<Books>)>, Option<String>) {
        let seen = lock(&self.seen);
        let last = seen.last.as_ref().map(|(at, books)| (at.elapsed(), Arc::clone(books)));
        (last, seen.error.clone())
    }

    /// The state as it is now: ages have grown since it was looked at. Errors of runs are an
    /// operator's.
    pub fn pipeline(&self, role: Role) -> Pipeline {
        let (last, error) = self.last();
        let age = last.as_ref().map(|(age, _)| age.as_secs_f64());
        let head = self.source.head();
        let database = Database {
            reachable: error.is_none() && last.is_some(),
            age_s: age.map(tenths),
            error,
        };
        let mut streams = Vec::new();
        let mut runs = Vec::new();
        if let Some((age, books)) = &last {
            let since = age.as_secs_f64();
            for stream in &books.streams {
                let heard = stream.heard_age.map(|age| (age + since).max(0.0));
                let of_head = head.as_ref().filter(|head| head.epoch == stream.epoch);
                streams.push(StreamState {
                    stream: stream.stream.clone(),
                    shard: stream.shard,
                    writers: stream.writers,
                    position: stream.position,
                    highest: stream.highest,
                    heard_age_s: heard.map(tenths),
                    data_age_s: books.data_age.map(|age| tenths(age + since)),
                    // Of a stream that is read in shards, none sees every event.
                    lag_events: of_head
                        .filter(|_| stream.stream == self.stream)
                        .map(|head| (head.last_offset - stream.position).max(0)),
                    events_per_second: self.pace(&stream.stream, stream.shard).map(tenths),
                    batches_per_minute: self.commits.per_minute(&stream.stream),
                    dead_letters_open: stream.dead_letters,
                    gaps_open: stream.gaps,
                    missed_events: stream.missed,
                    waiting: stream.waiting,
                    state: match heard {
                        None => "never",
                        Some(age) if age <= LIVE => "live",
                        Some(age) if age <= LATE => "late",
                        Some(_) => "stopped",
                    },
                });
            }
            runs.extend(books.runs.iter().map(|run| self.shown(run, role)));
        }
        if streams.is_empty() {
            streams.push(StreamState::never(&self.stream));
        }
        let source = SourceState {
            head: head.map(|head| head.last_offset),
            reachable: self.source.reachable(),
        };
        Pipeline { server_time: Timestamp::now(), database, streams, runs, source }
    }

    fn shown(&self, run: &Run, role: Role) -> Run {
        let mut run = run.clone();
        if role < Role::Operator {
            run.error = None;
        }
        if let (None, Some(base)) = (&run.log_url, &self.airflow_url)
            && !run.dag_id.is_empty()
        {
            let (dag, id) = (encoded(&run.dag_id), encoded(&run.run_id));
            run.log_url = Some(format!("{base}/dags/{dag}/grid?dag_run_id={id}"));
        }
        run
    }

    /// Events per second: as commits tell, else by how the position moves.
    fn pace(&self, stream: &str, shard: i32) -> Option<f64> {
        if let Some(pace) = self.commits.events_per_second(stream).filter(|pace| *pace > 0.0) {
            return Some(pace);
        }
        let seen = lock(&self.seen);
        let past = seen.positions.get(&(stream.to_owned(), shard))?;
        let (Some((first, from)), Some((last, to))) = (past.first(), past.last()) else {
            return None;
        };
        let span = (*last - *first).as_secs_f64();
        (span > 0.0).then(|| ((to - from).max(0) as f64) / span)
    }
}

impl StreamState {
    fn never(stream: &str) -> Self {
        Self {
            stream: stream.into(),
            shard: 0,
            writers: 0,
            position: 0,
            highest: 0,
            heard_age_s: None,
            data_age_s: None,
            lag_events: None,
            events_per_second: None,
            batches_per_minute: None,
            dead_letters_open: 0,
            gaps_open: 0,
            missed_events: 0,
            waiting: 0,
            state: "never",
        }
    }
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// Text as it may stand in a query of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_an_address_is_encoded() {
        assert_eq!(
            encoded("manual__2026-01-01T00:00:00+00:00"),
            "manual__2026-01-01T00%3A00%3A00%2B00%3A00"
        );
    }
}
