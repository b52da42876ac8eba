//! What a run did, in durable numbers only: everything here was counted after a commit.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::RunConfig;
use crate::decode::DriftKind;
use crate::preset::ResumeClass;
use crate::settle::Committed;

/// Why a run ended. All of these are normal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    EventLimit,
    Deadline,
    Idle,
    EndOfStream,
    Stopped,
    /// The source said that all has been said.
    Done,
    /// The wanted offset or time was reached.
    Until,
    /// The source has told all it has.
    CaughtUp,
    /// The run went on as another one, after a table had got new columns; only in the history.
    NewColumns,
}

impl StopReason {
    /// The name used in reports, logs and the run history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventLimit => "event_limit",
            Self::Deadline => "deadline",
            Self::Idle => "idle",
            Self::EndOfStream => "end_of_stream",
            Self::Stopped => "stopped",
            Self::Done => "done",
            Self::Until => "until",
            Self::CaughtUp => "caught_up",
            Self::NewColumns => "new_columns",
        }
    }
}

/// Events that differed, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriftCounts {
    pub missing: u64,
    pub mistyped: u64,
    pub new_fields: u64,
}

impl DriftCounts {
    pub(crate) fn count(&mut self, kind: DriftKind) {
        *match kind {
            DriftKind::Missing => &mut self.missing,
            DriftKind::Mistyped => &mut self.mistyped,
            DriftKind::NewField => &mut self.new_fields,
        } += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.missing += other.missing;
        self.mistyped += other.mistyped;
        self.new_fields += other.new_fields;
    }

    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The result of one run.
#[derive(Clone, Debug)]
pub struct Report {
    pub stream: String,
    /// Events whose fate was committed: landed, waiting, duplicate, ignored or dead
    /// letter.
    pub events_processed: u64,
    /// Rows inserted or changed, per table.
    pub rows: BTreeMap<String, u64>,
    /// Events that changed nothing because they had landed before.
    pub duplicates: u64,
    pub dead_letters: u64,
    /// Events that were not as a route expects them, per table, for routes with a policy.
    pub drift: BTreeMap<String, DriftCounts>,
    /// Events whose parent had not come: they wait in `sse_stream.waiting`.
    pub waiting: u64,
    /// Events that had waited, in this run or an earlier one, and landed.
    pub resumed: u64,
    /// Events passed over by `unknown_events = ignore`.
    pub ignored: u64,
    /// Gaps in the offsets that came to light.
    pub gaps: u64,
    /// Gaps, of this run or earlier ones, all of whose events came after all.
    pub gaps_repaired: u64,
    pub batches_processed: u64,
    /// Bytes of event data whose fate was committed.
    pub bytes: u64,
    /// First and last id among the committed events of this run.
    pub first_offset: Option<i64>,
    pub last_offset: Option<i64>,
    /// Where the next run resumes.
    pub position: i64,
    /// What the source can send again, and so what is promised.
    pub resume_class: ResumeClass,
    pub epoch: Option<String>,
    pub reconnects: u64,
    pub stop_reason: StopReason,
    /// Wall time from holding the stream's lock to the last commit.
    pub execution_time: Duration,
}

impl Report {
    /// Of a run that has done nothing yet.
    pub(crate) fn new(config: &RunConfig) -> Self {
        Self {
            stream: config.stream().to_owned(),
            events_processed: 0,
            rows: BTreeMap::new(),
            duplicates: 0,
            dead_letters: 0,
            drift: BTreeMap::new(),
            waiting: 0,
            resumed: 0,
            ignored: 0,
            gaps: 0,
            gaps_repaired: 0,
            batches_processed: 0,
            bytes: 0,
            first_offset: None,
            last_offset: None,
            position: 0,
            resume_class: config.preset.stream.class(),
            epoch: None,
            reconnects: 0,
            stop_reason: StopReason::Stopped,
            execution_time: Duration::ZERO,
        }
    }

    /// Adds what one commit decided, of one writer or of `several`, and how many gaps it noted.
    pub(crate) fn count(&mut self, committed: &Committed, gaps: u64, several: bool) {
        self.events_processed += committed.events;
        self.duplicates += committed.duplicates;
        self.dead_letters += committed.dead_letters;
        self.waiting += committed.waiting;
        self.resumed += committed.resumed;
        self.ignored += committed.ignored;
        self.bytes += committed.bytes;
        self.gaps += gaps;
        self.gaps_repaired += committed.gaps_repaired;
        self.batches_processed += u64::from(committed.events > 0);
        let (first, last) = (committed.first, committed.last);
        if several {
            // Of several writers none is first.
            self.first_offset = self.first_offset.into_iter().chain(first).min();
            self.last_offset = self.last_offset.max(last);
        } else {
            self.first_offset = self.first_offset.or(first);
            self.last_offset = last.or(self.last_offset);
        }
        for (table, rows) in &committed.rows {
            *self.rows.entry(table.clone()).or_default() += rows;
        }
        for (table, drift) in &committed.drift {
            self.drift.entry(table.clone()).or_default().add(*drift);
        }
    }

    /// Adds what an earlier part of the same run did.
    pub(crate) fn follow(&mut self, earlier: Self) {
        self.events_processed += earlier.events_processed;
        for (table, rows) in earlier.rows {
            *self.rows.entry(table).or_default() += rows;
        }
        for (table, drift) in earlier.drift {
            self.drift.entry(table).or_default().add(drift);
        }
        self.duplicates += earlier.duplicates;
        self.dead_letters += earlier.dead_letters;
        self.waiting += earlier.waiting;
        self.resumed += earlier.resumed;
        self.ignored += earlier.ignored;
        self.gaps += earlier.gaps;
        self.gaps_repaired += earlier.gaps_repaired;
        self.batches_processed += earlier.batches_processed;
        self.bytes += earlier.bytes;
        self.first_offset = earlier.first_offset.or(self.first_offset);
        self.last_offset = self.last_offset.or(earlier.last_offset);
        self.reconnects += earlier.reconnects;
        self.execution_time += earlier.execution_time;
    }
}
