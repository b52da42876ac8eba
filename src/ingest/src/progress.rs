//! What a run tells while it runs: a progress line at intervals, and trouble at once but no more
//! often than that.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::batch::Gap;
use crate::error::Error;
use crate::report::Report;

const GAPS: &str = "gaps: offsets that the source no longer has";

/// The log lines of a run.
pub(crate) struct Progress {
    every: Duration,
    last: Instant,
    events: u64,
    dead_letters: Notice,
    gaps: Notice,
    /// Whether offsets are our own count: a gap is then one number for nobody knows how many events.
    counted: bool,
}

/// A warning that is told at once the first time and then summed up.
#[derive(Default)]
struct Notice {
    told_at: Option<Instant>,
    untold: u64,
    examples: BTreeSet<String>,
}

impl Progress {
    pub(crate) fn new(every: Duration, counted: bool) -> Self {
        Self {
            every,
            last: Instant::now(),
            events: 0,
            dead_letters: Notice::default(),
            gaps: Notice::default(),
            counted,
        }
    }

    /// When the next line is due.
    pub(crate) fn due_at(&self) -> Instant {
        self.last + self.every
    }

    /// Dead letters were committed, for these reasons among others.
    pub(crate) fn trouble(&mut self, count: u64, reasons: &BTreeSet<String>) {
        self.dead_letters.add(count, reasons.iter());
        self.dead_letters.tell(self.every, "dead letters");
    }

    /// The source passed over some offsets.
    pub(crate) fn gaps(&mut self, gaps: &[Gap]) {
        let texts: Vec<String> = gaps
            .iter()
            .map(|gap| match self.counted {
                true => format!("an unknown number before {} ({})", gap.last + 1, gap.noticed_by),
                false => format!("{} to {} ({})", gap.first, gap.last, gap.noticed_by),
            })
            .collect();
        self.gaps.add(gaps.len() as u64, texts.iter());
        self.gaps.tell(self.every, GAPS);
    }

    /// Logs the progress line if it is due.
    pub(crate) fn tick(&mut self, report: &Report) {
        let elapsed = self.last.elapsed();
        if elapsed < self.every {
            return;
        }
        let rate = (report.events_processed - self.events) as f64 / elapsed.as_secs_f64();
        tracing::info!(
            "{} events committed ({rate:.0}/s), offset {}, {} batches, {}",
            report.events_processed,
            report.position,
            report.batches_processed,
            exceptions(report)
        );
        self.last = Instant::now();
        self.events = report.events_processed;
    }

    /// The last lines of a run.
    pub(crate) fn end(&mut self, report: &Report, error: Option<&Error>) {
        self.dead_letters.tell(Duration::ZERO, "dead letters");
        self.gaps.tell(Duration::ZERO, GAPS);
        let seconds = report.execution_time.as_secs_f64();
        let end = match error {
            Some(error) => error.to_string(),
            None => report.stop_reason.as_str().to_owned(),
        };
        tracing::info!(
            "run ended ({end}): {} events in {seconds:.1} s ({:.0}/s), {} batches, {}, next offset after {}",
            report.events_processed,
            report.events_processed as f64 / seconds.max(0.001),
            report.batches_processed,
            exceptions(report),
            report.position
        );
    }
}

/// What did not simply land.
fn exceptions(report: &Report) -> String {
    let mut text =
        format!("{} duplicates, {} dead letters", report.duplicates, report.dead_letters);
    if report.waiting + report.resumed > 0 {
        let _ = write!(
            text,
            ", {} began to wait for a parent, {} landed after waiting",
            report.waiting, report.resumed
        );
    }
    for (table, drift) in report.drift.iter().filter(|(_, drift)| !drift.is_none()) {
        let kinds = [
            (drift.missing, "with missing fields"),
            (drift.mistyped, "with mistyped values"),
            (drift.new_fields, "with new fields"),
        ];
        for (count, what) in kinds.into_iter().filter(|(count, _)| *count > 0) {
            let _ = write!(text, ", {count} {what} for {table}");
        }
    }
    if report.gaps + report.gaps_repaired > 0 {
        let _ = write!(text, ", {} gaps, {} repaired", report.gaps, report.gaps_repaired);
    }
    text
}

impl Notice {
    fn add<'a>(&mut self, count: u64, examples: impl Iterator<Item = &'a String>) {
        self.untold += count;
        for example in examples {
            if self.examples.len() < 3 {
                self.examples.insert(example.clone());
            }
        }
    }

    fn tell(&mut self, every: Duration, what: &str) {
        if self.untold == 0 || self.told_at.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        let examples: Vec<&str> = self.examples.iter().map(String::as_str).collect();
        tracing::warn!("{} {what}, for example: {}", self.untold, examples.join("; "));
        self.told_at = Some(Instant::now());
        self.untold = 0;
        self.examples.clear();
    }
}
