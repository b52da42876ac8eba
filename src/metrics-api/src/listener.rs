//! Hears of commits: one connection that waits for notifications, made anew when it is lost.
//!
//! A notification only wakes readers; what they show they read from the tables. So a lost one costs
//! at most the second until readers look by themselves.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use crate::connect::{CONNECT, Database};
use crate::store::chain;

/// Channel on which the engine tells of commits.
const LISTEN: &str = "listen sse_stream";
const ALIVE: &str = "select 1";
/// Over how long commits are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Silence after which the connection is asked whether it still stands.
const SILENCE: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the engine says of a commit; other fields may come.
#[derive(Debug, Deserialize)]
struct Commit {
    stream: String,
    #[serde(default)]
    events: u64,
}

/// Commits as they are heard of.
#[derive(Clone)]
pub struct Commits {
    /// Grows with every commit.
    pub heard: watch::Receiver<u64>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    /// Since when nothing can have been missed; `None` while there is no connection.
    listening: Option<Instant>,
    streams: HashMap<String, VecDeque<(Instant, u64)>>,
}

impl Commits {
    /// Starts to listen, for as long as the runtime lives.
    pub fn listen(database: Database) -> Self {
        let (heard, receiver) = watch::channel(0);
        let counts = Arc::default();
        let commits = Self { heard: receiver, counts: Arc::clone(&counts) };
        tokio::spawn(async move {
            let mut pause = Duration::from_millis(250);
            loop {
                let begun = Instant::now();
                let error = session(&database, &heard, &counts).await;
                lock(&counts).listening = None;
                if begun.elapsed() > LONGEST_PAUSE {
                    pause = Duration::from_millis(250);
                }
                tracing::warn!(
                    "commits are not heard of: {error}; looking each second, trying again"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
        commits
    }

    /// Whether commits are heard of at present.
    pub fn listening(&self) -> bool {
        lock(&self.counts).listening.is_some()
    }

    /// Commits of a stream in the last minute; `None` if that was not listened to as a whole.
    pub fn per_minute(&self, stream: &str) -> Option<usize> {
        let now = Instant::now();
        let counts = lock(&self.counts);
        counts.listening.filter(|since| now - *since >= WINDOW)?;
        let commits = counts.streams.get(stream);
        Some(commits.map_or(0, |all| all.iter().filter(|(at, _)| now - *at < WINDOW).count()))
    }

    /// Events committed per second over the last ten seconds; `None` if those were not listened to.
    pub fn events_per_second(&self, stream: &str) -> Option<f64> {
        let span = Duration::from_secs(10);
        let now = Instant::now();
        let counts = lock(&self.counts);
        counts.listening.filter(|since| now - *since >= span)?;
        let events: u64 = counts.streams.get(stream).map_or(0, |all| {
            all.iter().filter(|(at, _)| now - *at < span).map(|(_, events)| events).sum()
        });
        Some(events as f64 / span.as_secs_f64())
    }
}

/// Listens until the connection is lost; says why.
async fn session(
    database: &Database,
    heard: &watch::Sender<u64>,
    counts: &Mutex<Counts>,
) -> String {
    let (say, mut said) = mpsc::channel(256);
    let (client, _) = match tokio::time::timeout(CONNECT, database.open(Some(say))).await {
        Ok(Ok(both)) => both,
        Ok(Err(error)) => return chain(&error),
        Err(_) => return "the server does not answer".into(),
    };
    if let Err(error) = client.batch_execute(LISTEN).await {
        return chain(&error);
    }
    lock(counts).listening = Some(Instant::now());
    tracing::info!("listening for commits");
    loop {
        tokio::select! {
            notice = said.recv() => match notice {
                Some(notice) => note(notice.payload(), heard, counts),
                None => return "the connection was lost".into(),
            },
            () = tokio::time::sleep(SILENCE) => {
                match tokio::time::timeout(ANSWER, client.batch_execute(ALIVE)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return chain(&error),
                    Err(_) => return "the server does not answer".into(),
                }
            }
        }
    }
}

fn note(payload: &str, heard: &watch::Sender<u64>, counts: &Mutex<Counts>) {
    if let Ok(commit) = serde_json::from_str::<Commit>(payload) {
        let now = Instant::now();
        let mut counts = lock(counts);
        let commits = counts.streams.entry(commit.stream).or_default();
        while commits.front().is_some_and(|(at, _)| now - *at >= WINDOW) {
            commits.pop_front();
        }
        commits.push_back((now, commit.events));
    }
    heard.send_modify(|count| *count += 1);
}

fn lock(counts: &Mutex<Counts>) -> std::sync::MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
