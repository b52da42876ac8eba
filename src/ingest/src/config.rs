//! What a caller decides about one run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::connect::DatabaseConfig;
use crate::preset::Preset;
use crate::raw_table::RawTable;

/// Everything one run of [`crate::run`] needs.
#[derive(Clone)]
pub struct RunConfig {
    /// Where the events come from. Its `last_event_id` is set by the run from the committed offset.
    pub source: sse::ClientConfig,
    /// How the events are fetched: as a stream, or page by page from the feed's REST twin.
    pub source_kind: SourceKind,
    /// Where the rows go.
    pub database: DatabaseConfig,
    /// Which event goes into which table.
    pub preset: Preset,
    /// A table of the preset for raw events that is looked for, or created, before the run begins.
    pub raw_table: Option<RawTable>,
    /// The name under which the offset is kept; `None` takes the preset's.
    pub stream: Option<String>,
    /// Which shard of the stream this run reads; 0 where the stream is not sharded.
    pub shard: i32,
    /// How many sessions write at once, where the stream allows for more than one.
    pub writers: usize,
    /// When the run ends by itself.
    pub limits: Limits,
    /// When a batch is due and how large it may grow.
    pub batch: BatchConfig,
    /// What happens to an event whose type no route names.
    pub unknown_events: UnknownEvents,
    /// What a bad event means for the run.
    pub bad_events: BadEvents,
    /// Where the feed's REST twin answers, laid out as the preset's `[stream.pages]` says: gaps are
    /// fetched there. The source's headers and client certificate go along only to the source's
    /// own origin.
    pub backfill_url: Option<String>,
    /// What a gap means for the run.
    pub gap_policy: GapPolicy,
    /// How long an event may wait for its parent before it becomes a dead letter.
    pub max_wait: Duration,
    /// How long to wait for another run to give up the stream before `OffsetConflict`.
    pub lease_timeout: Duration,
    /// How often a progress line is logged.
    pub progress_every: Duration,
    /// Who runs this, for the run history and the owner column.
    pub run: RunIdentity,
}

impl RunConfig {
    /// The name under which the offset is kept.
    pub(crate) fn stream(&self) -> &str {
        self.stream.as_deref().unwrap_or(&self.preset.stream.name)
    }
}

/// How events are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceKind {
    /// `text/event-stream`.
    #[default]
    Stream,
    /// Pages of JSON from a REST endpoint (`?since=&limit=`), read until an empty page.
    Poll,
}

/// When a run ends by itself. `None` means never for that reason.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Exactly this many events are taken.
    pub max_events: Option<u64>,
    /// Wall time from the moment the stream's lock is held.
    pub timeout: Option<Duration>,
    /// Time without any event (comments do not count).
    pub idle_timeout: Option<Duration>,
    /// The run is a window of time of its own: events before it are passed over, and where nothing
    /// has been read yet, the source is asked for what follows this moment, if it can tell. Needs
    /// `until` and a stream name of the window's own.
    pub from: Option<jiff::Timestamp>,
    /// Where the run ends.
    pub until: Option<Until>,
    /// End when the source has told all it has.
    pub drain: bool,
}

/// Where a run ends. Without a window of its own ([`Limits::from`]) what follows is the next run's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Behind this offset.
    Offset(i64),
    /// Before the first event of this moment or later, by the preset's `time`; or when this moment
    /// has passed by the clock and the source has told all it has.
    Time(jiff::Timestamp),
}

/// When a batch is due: with so many events, or `linger` after its first event, or after the commit
/// before it if that is sooner. It then still takes in what has already arrived until the previous commit
/// returns, up to `max_bytes`.
#[derive(Clone, Copy, Debug)]
pub struct BatchConfig {
    pub events: usize,
    pub linger: Duration,
    /// Bound on the memory of the batches being filled, shared by the writers: event bytes plus
    /// encoded rows. As much again is being committed.
    pub max_bytes: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { events: 100, linger: Duration::from_millis(5), max_bytes: 6 << 20 }
    }
}

/// What happens to an event whose type no route names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownEvents {
    /// One dead letter with the reason `unknown_type`.
    #[default]
    DeadLetter,
    /// Only the routes for `*` (the raw table) take it.
    RawOnly,
    /// Counted, then passed over.
    Ignore,
}

/// What a gap in the offsets means for a run. In either case it stands in the ledger, and what
/// landed stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GapPolicy {
    /// A warning in the log.
    #[default]
    Warn,
    /// The run fails, unless the gap could be repaired from `backfill_url`.
    Fail,
}

/// What bad events mean for a run. Whatever it says, what landed stays, and no bad event is passed
/// over in silence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum BadEvents {
    /// They become dead letters and the run goes on.
    #[default]
    Keep,
    /// They become dead letters; the run fails after the commit with which there are too many.
    KeepUpTo(MaxDeadLetters),
    /// The first one fails the run: what came before it lands, and the next run meets it again.
    Fail,
}

/// How many dead letters one run may leave behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxDeadLetters {
    Count(u64),
    /// A share of all events, from 0 to 1. It is looked at from the thousandth event on and at
    /// the end of the run.
    Share(f64),
}

impl MaxDeadLetters {
    /// The events from which a share says something before the run has ended.
    const SAMPLE: u64 = 1000;

    pub(crate) fn is_exceeded(self, dead_letters: u64, events: u64, at_the_end: bool) -> bool {
        match self {
            Self::Count(max) => dead_letters > max,
            Self::Share(max) => {
                (at_the_end || events >= Self::SAMPLE) && dead_letters as f64 > max * events as f64
            }
        }
    }
}

impl std::fmt::Display for MaxDeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(max) => write!(f, "{max}"),
            Self::Share(max) => write!(f, "{max} of all events"),
        }
    }
}

/// Who runs this. Empty strings where the caller has no such thing.
#[derive(Clone, Debug, Default)]
pub struct RunIdentity {
    pub dag_id: String,
    pub task_id: String,
    pub run_id: String,
    pub map_index: i32,
    pub try_number: i32,
    pub log_url: String,
    /// Shown to others who wait for the stream, for example `host:pid`.
    pub owner: String,
}

/// A flag that asks a run to end at the next committed offset. Clones share the flag.
#[derive(Clone, Default)]
pub struct Stop(Arc<StopInner>);

#[derive(Default)]
struct StopInner {
    set: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// Asks the run to end. Safe to call from any thread, any number of times.
    pub fn set(&self) {
        self.0.set.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::SeqCst)
    }

    /// Returns when the end was asked for.
    pub(crate) async fn wait(&self) {
        let notified = self.0.notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }
}
