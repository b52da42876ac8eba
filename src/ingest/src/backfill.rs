//! Missed events from the feed's REST twin: one page at a time, beside the live stream, into
//! batches that move no position. The store lands them as it lands any event in an open gap.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::batch::Batch;
use crate::catalog::Catalog;
use crate::config::RunConfig;
use crate::error::Error;
use crate::gaps::OpenGaps;
use crate::host::Host;
use crate::intake::Intake;
use crate::offsets::Offset;
use crate::pages::{PAGE_EVENTS, Pages};
use crate::preset::Offsets;

/// Failed requests in a row after which this run leaves the twin alone.
const MOST_FAILURES: u32 = 3;

/// Scheme, host and port of an address, as written.
fn origin(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/").to_ascii_lowercase()
}

/// How the REST twin is reached, where the run has one.
pub(crate) fn twin(config: &RunConfig) -> Option<sse::ClientConfig> {
    let url = config.backfill_url.as_ref()?;
    let mut twin = config.source.clone();
    twin.url.clone_from(url);
    twin.last_event_id = None;
    (twin.method, twin.body) = ("GET".into(), None);
    if origin(url) != origin(&config.source.url) {
        // What the caller gave for the stream is for its host alone.
        twin.headers.clear();
        twin.credentials = None;
        (twin.tls.client_cert, twin.tls.client_key) = (None, None);
    }
    Some(twin)
}

/// Fetches what lies in open gaps, each offset at most once per run.
pub(crate) struct Backfill {
    pages: Pages,
    intake: Intake,
    epoch_header: Option<String>,
    /// Whether every offset of a gap stands for an event.
    dense: bool,
    state: State,
    /// Offsets below were asked for by this run.
    asked_to: i64,
    failures: u32,
}

enum State {
    /// Nothing to do, until a gap is known.
    Idle,
    /// Events of these offsets are being fetched.
    Asking(RangeInclusive<i64>),
    /// They wait to be landed.
    Ready(Box<Batch>),
    /// The store has them.
    Landing,
    /// The twin does not answer, or not for our history: left for a later run.
    GivenUp,
}

impl Backfill {
    /// `None` where the run has no twin to ask.
    pub(crate) fn open(
        config: &RunConfig,
        catalog: &Catalog,
        host: Arc<dyn Host>,
        offset: &Offset,
    ) -> Result<Option<Self>, Error> {
        let Some(twin) = twin(config) else { return Ok(None) };
        if config.preset.stream.ids.are_counted() {
            return Err(Error::config(format!(
                "preset {:?} has ids that are no numbers: backfill_url cannot fetch what lies between them; remove it",
                config.preset.stream.name
            )));
        }
        let stream = &config.preset.stream;
        Ok(Some(Self {
            pages: Pages::at(config, twin, 0)?,
            intake: Intake::new(config, catalog, host, offset),
            epoch_header: stream.epoch_header.clone(),
            dense: stream.offsets == Offsets::Dense,
            state: State::Idle,
            asked_to: 0,
            failures: 0,
        }))
    }

    /// Chooses what to fetch next, if nothing is under way.
    pub(crate) fn aim(&mut self, gaps: &OpenGaps, epoch: &str) {
        if !matches!(self.state, State::Idle | State::Landing) {
            return;
        }
        self.state = State::Idle;
        let asked_to = self.asked_to;
        let gap = gaps.iter().find(|gap| !gap.on_purpose && gap.last >= asked_to);
        let Some(gap) = gap else { return };
        let first = gap.first.max(asked_to);
        self.intake.name_epoch(epoch);
        self.pages.ask(first - 1, (gap.last - first).saturating_add(1));
        self.state = State::Asking(first..=gap.last);
    }

    /// Whether [`Backfill::advance`] has something to wait for.
    pub(crate) fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking(_))
    }

    /// Whether something is under way or waits to be landed.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.state, State::Asking(_) | State::Ready(_))
    }

    /// Another history begins: what was fetched belongs to none.
    pub(crate) fn begin(&mut self) {
        self.asked_to = 0;
        self.state = State::Idle;
    }

    /// A batch of events that were missed, for the store.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        match std::mem::replace(&mut self.state, State::Landing) {
            State::Ready(batch) => Some(*batch),
            state => {
                self.state = state;
                None
            }
        }
    }

    /// Waits for the twin. Dropping the future and calling again loses nothing. What goes wrong
    /// here is a warning: the gap stays in the ledger.
    pub(crate) async fn advance(&mut self) {
        let State::Asking(wanted) = &self.state else { return };
        let wanted = wanted.clone();
        match self.pages.advance().await {
            Ok(sse::Signal::Connected(head)) => {
                let named = self.epoch_header.as_deref();
                let epoch = named.and_then(|name| head.header(name));
                if named.is_some() && epoch != Some(self.intake.epoch()) {
                    self.give_up(&format!(
                        "it answers for epoch {:?}, and we stand in {:?}",
                        epoch.unwrap_or("(none)"),
                        self.intake.epoch()
                    ));
                }
            }
            Ok(sse::Signal::Bytes(_) | sse::Signal::End) => self.read(&wanted),
            Ok(sse::Signal::Disconnected(gone)) => {
                self.failures += 1;
                if self.failures >= MOST_FAILURES {
                    self.give_up(&gone.reason);
                }
            }
            Err(error) => self.give_up(&error.to_string()),
        }
    }

    fn give_up(&mut self, why: &str) {
        tracing::warn!(
            "gaps cannot be repaired from the REST twin: {why}; a later run tries again"
        );
        self.state = State::GivenUp;
    }

    /// Reads the page: what of it was wanted, and how far it answers for the gap.
    fn read(&mut self, wanted: &RangeInclusive<i64>) {
        self.failures = 0;
        let (first, last) = (*wanted.start(), *wanted.end());
        let full = self.pages.len() as i64 >= (last - first).saturating_add(1).min(PAGE_EVENTS);
        let mut batch = Batch::new(self.intake.routes());
        let mut next = first;
        let mut behind = false;
        while let Some(item) = self.pages.next_item() {
            let sse::Item::Event(event) = item else { continue };
            if self.intake.take_missed(&event, &(next..=last), &mut batch) {
                next = batch.events.last().and_then(|event| event.id).unwrap_or(next) + 1;
            } else {
                let id = std::str::from_utf8(event.id).ok().and_then(|id| id.parse().ok());
                behind |= id.is_some_and(|id: i64| id > last);
            }
        }
        // A page that is not full, or goes on behind the gap, answers for all of it.
        let answered = if full && !behind && next > first { next - 1 } else { last };
        self.asked_to = answered + 1;
        let count = batch.events.len() as i64;
        if self.dense && count < answered - first + 1 {
            tracing::warn!(
                "the REST twin has {count} of the {} events missed from offset {first} to {answered}; the others stay in sse_stream.gaps and the next run asks again",
                answered - first + 1
            );
        }
        if count == 0 {
            self.state = State::Idle;
            return;
        }
        if !self.dense {
            batch.covered = Some((first, answered));
        }
        self.state = State::Ready(Box::new(batch));
    }
}
