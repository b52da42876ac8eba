//! What a run did, in durable numbers only: everything here was counted after a commit.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::preset::ResumeClass;

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
        }
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
