//! The only loop: reads the source, fills the batches of the writers, hands them over, and ends with
//! a report. `run.rs` opens what it needs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinError;

use crate::backfill::Backfill;
use crate::batch::Gap;
use crate::config::{BadEvents, GapPolicy, RunConfig, Stop};
use crate::error::{Error, ErrorKind};
use crate::grow::Growth;
use crate::handover::show;
use crate::host::Host;
use crate::intake::Intake;
use crate::lanes::{Done, Lanes, Work, no_answer};
use crate::offsets::Offset;
use crate::preset::ResumeClass;
use crate::progress::Progress;
use crate::report::{Report, StopReason};
use crate::run::STOP_GRACE;
use crate::source::{Signal, Source};
use crate::store::Store;

/// How long the end of a run waits for the database: for its last commit, and to close its books.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);

/// How long the end of a run goes on fetching missed events.
const REPAIR_GRACE: Duration = Duration::from_secs(10);

/// After so long without an event a source that is connected has told all it has; sooner, if it
/// gives a sign of life that long after its last event.
const QUIET_AFTER: Duration = Duration::from_secs(3);
const SIGN_AFTER: Duration = Duration::from_millis(500);

/// How often waiting events are tried again whose parent came by another way.
const REVISIT_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Pipeline {
    config: Arc<RunConfig>,
    stop: Stop,
    source: Source,
    intake: Intake,
    lanes: Lanes,
    backfill: Option<Backfill>,
    /// Gaps of this run that are still to be repaired where the policy is to fail.
    missed: Vec<Gap>,
    /// Columns without which the next event must not be taken.
    pub(crate) grow: BTreeSet<Growth>,
    report: Report,
    started: Instant,
    last_event_at: Instant,
    heard: Option<Instant>,
    /// When the present response began, and the newest offset that its head named.
    connected_at: Option<Instant>,
    head: Option<i64>,
    /// Since the last event the source has given a sign of life, a while after it, or a whole answer
    /// with no other.
    signed: bool,
    /// How the one response ended, where it is not asked for again.
    broken_off: Option<String>,
    /// Until the source has answered once: what it last failed with.
    unreached: Option<String>,
    revisit_at: Instant,
    progress: Progress,
}

impl Pipeline {
    pub(crate) fn new(
        config: RunConfig,
        (stores, begins): (Vec<Store>, i64),
        host: Arc<dyn Host>,
        stop: Stop,
    ) -> Result<Self, Error> {
        let config = Arc::new(config);
        let lead = &stores[0];
        let offset = Offset { position: begins, ..lead.offset().clone() };
        let source = Source::open(&config, &offset)?;
        let intake = Intake::new(&config, lead.catalog(), host.clone(), &offset);
        let backfill = Backfill::open(&config, lead.catalog(), host.clone(), lead.offset())?;
        let mut report = Report::new(&config);
        report.position = lead.offset().position;
        report.epoch = lead.offset().epoch.clone();
        let now = Instant::now();
        Ok(Self {
            lanes: Lanes::new(config.clone(), host, stop.clone(), stores),
            source,
            intake,
            backfill,
            missed: Vec::new(),
            grow: BTreeSet::new(),
            report,
            started: now,
            last_event_at: now,
            heard: None,
            connected_at: None,
            head: None,
            signed: false,
            broken_off: None,
            unreached: Some("no answer yet".to_owned()),
            revisit_at: now,
            progress: Progress::new(config.progress_every, config.preset.stream.ids.are_counted()),
            config,
            stop,
        })
    }

    /// Runs until there is a reason to stop, and commits what was taken until then.
    pub(crate) async fn drive(&mut self) -> Result<StopReason, Error> {
        let reason = loop {
            self.take_in();
            if let Some(reason) = self.reason_to_stop() {
                break reason;
            }
            self.start_jobs();
            // A job that started has made room: events that came already must not be forgotten with
            // a connection that ends now.
            self.take_in();
            if let Some(reason) = self.wait().await? {
                break reason;
            }
        };
        if let (StopReason::Deadline | StopReason::Idle, Some(why)) = (reason, &self.unreached) {
            let message = format!("the source could not be reached in the time of the run: {why}");
            return Err(Error::new(ErrorKind::Source, message));
        }
        if reason != StopReason::Stopped {
            tokio::time::timeout(COMMIT_PATIENCE, self.commit_all())
                .await
                .map_err(|_| no_answer("commit the last events"))??;
            self.repair_all().await?;
        } else {
            self.finish_jobs().await?;
        }
        self.check_window(reason)?;
        self.check_last_word()?;
        self.check_gaps()?;
        if let Some(why) = self.too_many(true) {
            return Err(Error::new(ErrorKind::BadEvent, why));
        }
        Ok(reason)
    }

    /// A window of time is read to its end or it has failed: nobody comes back for the rest.
    fn check_window(&self, reason: StopReason) -> Result<(), Error> {
        let early =
            matches!(reason, StopReason::Deadline | StopReason::Idle | StopReason::EventLimit);
        if self.config.limits.from.is_none() || !early {
            return Ok(());
        }
        let message = format!(
            "stream {:?} ended by {} before the end of its window; what came is kept, and the next attempt goes on behind it",
            self.report.stream,
            reason.as_str()
        );
        Err(Error::new(ErrorKind::Source, message))
    }

    /// The one response must have said its last word, where there is one.
    fn check_last_word(&self) -> Result<(), Error> {
        let done = self.config.preset.stream.done.as_ref();
        let (Some(done), Some(reason)) = (done, &self.broken_off) else { return Ok(()) };
        let message = format!(
            "{reason}, before it said {done:?}; what came until then has landed, and asking again may give another answer"
        );
        Err(Error::new(ErrorKind::Source, message))
    }

    /// Moves parsed events into the batch while there is room.
    fn take_in(&mut self) {
        if !self.has_room() {
            // Not the source is silent, we do not listen.
            self.last_event_at = Instant::now();
        }
        let (mut any, mut taken) = (false, false);
        while self.has_room() {
            let Some(item) = self.source.next_item() else { break };
            taken = true;
            if self.intake.take(item, &mut self.lanes.filling) {
                any = true;
            }
        }
        if self.intake.has_moved() {
            self.source.goes_on_after(self.intake.position(), self.intake.resume_token());
        }
        if any {
            self.source.has_given();
            self.last_event_at = Instant::now();
            self.signed = false;
        } else if taken {
            self.signed |= self.quiet_for() >= SIGN_AFTER;
        }
        self.lanes.note_filling();
    }

    fn has_room(&self) -> bool {
        self.lanes.has_room() && !self.limit_reached() && self.intake.ended().is_none()
    }

    /// How long the source has given no event although it could.
    fn quiet_for(&self) -> Duration {
        let since = self.connected_at.map(|at| at.max(self.last_event_at));
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether the source has told all it has: we stand at its newest offset, or it says nothing
    /// more, or only that it is there.
    fn is_caught_up(&self) -> bool {
        let at_head = self.head.is_some_and(|head| self.intake.position() >= head);
        self.connected_at.is_some() && (at_head || self.signed || self.quiet_for() >= QUIET_AFTER)
    }

    /// Whether somebody waits for the source to have told all.
    fn waits_for_quiet(&self) -> bool {
        self.config.limits.drain || self.intake.has_passed()
    }

    fn limit_reached(&self) -> bool {
        self.config.limits.max_events.is_some_and(|max| self.intake.taken() >= max)
    }

    fn reason_to_stop(&self) -> Option<StopReason> {
        let limits = &self.config.limits;
        if self.stop.is_set() {
            Some(StopReason::Stopped)
        } else if let Some(ended) = self.intake.ended() {
            Some(ended)
        } else if self.is_caught_up() && self.intake.has_passed() {
            Some(StopReason::Until)
        } else if self.is_caught_up() && limits.drain {
            Some(StopReason::CaughtUp)
        } else if self.limit_reached() {
            Some(StopReason::EventLimit)
        } else if limits.timeout.is_some_and(|timeout| self.started.elapsed() >= timeout) {
            Some(StopReason::Deadline)
        } else if limits.idle_timeout.is_some_and(|idle| self.last_event_at.elapsed() >= idle) {
            Some(StopReason::Idle)
        } else {
            None
        }
    }

    /// Starts what is due: a look at the waiting events, missed events, commits, or notes in the
    /// books that the source was heard.
    fn start_jobs(&mut self) {
        if self.wants_revisit() {
            if !self.lanes.is_busy() {
                self.revisit_at = Instant::now() + REVISIT_EVERY;
                self.lanes.start_revisit();
            }
            return;
        }
        self.start_repair();
        if self.lanes.start_due(&self.intake, self.heard) {
            self.heard = None;
        }
    }

    /// Whether the waiting events are to be looked at, for which all writers come to a rest.
    fn wants_revisit(&self) -> bool {
        self.revisit_at <= Instant::now()
    }

    /// Hands missed events to the store, if some have been fetched. One page at a time: the next
    /// one is fetched while the live stream goes on.
    fn start_repair(&mut self) -> bool {
        if !self.lanes.is_lead_free() {
            return false;
        }
        let Some(batch) = self.backfill.as_mut().and_then(Backfill::take) else { return false };
        self.lanes.start_repair(batch, self.intake.epoch());
        true
    }

    /// Chooses the next missed events to fetch, if nothing is being fetched.
    fn aim(&mut self) {
        if let Some(backfill) = &mut self.backfill {
            backfill.aim(&self.lanes.gaps(), self.intake.epoch());
        }
    }

    /// Fetches and lands what this run has not asked the twin for yet, for a while.
    async fn repair_all(&mut self) -> Result<(), Error> {
        let until = Instant::now() + REPAIR_GRACE;
        self.aim();
        while self.backfill.as_ref().is_some_and(Backfill::is_busy) && Instant::now() < until {
            if self.start_repair() {
                self.finish_jobs().await?;
            } else if let Some(backfill) = &mut self.backfill {
                tokio::select! {
                    () = backfill.advance() => {}
                    () = self.stop.wait() => break,
                    () = tokio::time::sleep_until(until.into()) => break,
                }
            }
            self.aim();
        }
        if !self.stop.is_set() && self.backfill.as_ref().is_some_and(Backfill::is_busy) {
            tracing::warn!(
                "gaps: the REST twin did not give all in the {} s after the run; the next run asks again",
                REPAIR_GRACE.as_secs()
            );
        }
        self.finish_jobs().await
    }

    fn check_gaps_tried(&mut self) -> Result<(), Error> {
        match &self.backfill {
            Some(backfill) if backfill.is_busy() || self.lanes.is_repairing() => Ok(()),
            _ => self.check_gaps(),
        }
    }

    /// Fails the run for a gap that stays open, where that is the policy and nothing more is
    /// tried.
    fn check_gaps(&mut self) -> Result<(), Error> {
        let open = self.lanes.gaps();
        self.missed.retain(|gap| open.overlaps(&(gap.first..=gap.last)));
        let Some(gap) = self.missed.first() else { return Ok(()) };
        let tried = match self.backfill {
            Some(_) => "the REST twin could not give them",
            None => "backfill_url names no REST twin to fetch them from",
        };
        Err(Error::new(
            ErrorKind::BadEvent,
            format!(
                "stream {:?}: the offsets {} to {} did not come ({}) and the policy is to fail; {tried}. What landed is kept, the gap stands in sse_stream.gaps, and the next run goes on behind it",
                self.report.stream, gap.first, gap.last, gap.noticed_by
            ),
        ))
    }

    /// Waits for the next thing to happen: bytes, the end of a job, a timer or the stop flag.
    async fn wait(&mut self) -> Result<Option<StopReason>, Error> {
        let wake_at = self.next_timer();
        let reading = self.has_room();
        let fetching = self.backfill.as_ref().is_some_and(Backfill::is_asking);
        tokio::select! {
            biased;
            () = self.stop.wait() => Ok(None),
            done = self.lanes.join() => {
                self.settle(done)?;
                Ok(None)
            }
            () = fetch(&mut self.backfill), if fetching => {
                self.aim();
                self.check_gaps_tried()?;
                Ok(None)
            }
            signal = self.source.advance(), if reading => self.hear(signal?).await,
            () = tokio::time::sleep_until(wake_at.into()) => {
                self.progress.tick(&self.report);
                Ok(None)
            }
        }
    }

    fn next_timer(&self) -> Instant {
        let limits = &self.config.limits;
        [
            Some(self.progress.due_at()),
            self.lanes.next_due(&self.intake, self.heard).filter(|_| !self.wants_revisit()),
            limits.timeout.map(|timeout| self.started + timeout),
            limits.idle_timeout.map(|idle| self.last_event_at + idle),
            self.connected_at
                .filter(|_| self.waits_for_quiet())
                .map(|at| at.max(self.last_event_at) + QUIET_AFTER),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or_else(|| Instant::now() + Duration::from_secs(1))
    }

    async fn hear(&mut self, signal: Signal) -> Result<Option<StopReason>, Error> {
        match signal {
            Signal::Bytes => self.heard = Some(Instant::now()),
            Signal::Connected { epoch, anchor, head } => {
                self.unreached = None;
                self.connected_at = Some(Instant::now());
                self.head = head;
                self.intake.connected();
                let goes_on = self.meet_epoch(epoch).await?;
                if let Some(anchor) = anchor.filter(|_| goes_on) {
                    self.intake.anchored(&anchor, &mut self.lanes.filling);
                    self.lanes.note_filling();
                }
            }
            Signal::Gone => self.intake.gone(),
            Signal::Disconnected { reason, retry_in, failed } => {
                self.report.reconnects += 1;
                // An answer without an event that ended in peace says that there was none.
                let began = self.connected_at.take();
                let empty = began.is_some_and(|began| self.last_event_at < began);
                self.signed = !failed && (empty || self.signed);
                self.unreached = self.unreached.take().map(|_| reason.clone());
                let seconds = retry_in.as_secs_f64();
                if failed {
                    tracing::warn!("source: {reason}; trying again in {seconds:.1} s");
                } else {
                    tracing::info!("source: {reason}; trying again in {seconds:.1} s");
                }
            }
            Signal::End => return Ok(Some(StopReason::EndOfStream)),
            Signal::Over { reason } => {
                self.broken_off = Some(reason);
                return Ok(Some(StopReason::EndOfStream));
            }
        }
        Ok(None)
    }

    /// Compares the history the source offers with the one we stand in. Another one begins at
    /// offset 0, after what is left of the old one was committed; the response is dropped unread.
    /// False where that happened.
    async fn meet_epoch(&mut self, epoch: Option<String>) -> Result<bool, Error> {
        let Some(epoch) = epoch.filter(|epoch| !epoch.is_empty()) else { return Ok(true) };
        match &self.report.epoch {
            Some(known) if *known == epoch => return Ok(true),
            // Without a name we have read on, so it is the same history that has one now.
            Some(known) if !known.is_empty() => {
                tracing::warn!(
                    "the source began a new epoch {epoch} (we stood in {known}); reading it from offset 0"
                );
            }
            _ => {
                self.intake.name_epoch(&epoch);
                self.report.epoch = Some(epoch);
                return Ok(true);
            }
        }
        self.commit_all().await?;
        let position = self.lanes.begin_epoch(&epoch).await?;
        self.intake.begin(&epoch, position);
        if let Some(backfill) = &mut self.backfill {
            backfill.begin();
        }
        self.report.position = position;
        self.report.epoch = Some(epoch);
        self.source.restart(position);
        Ok(false)
    }

    /// Commits everything that was taken.
    async fn commit_all(&mut self) -> Result<(), Error> {
        while !self.lanes.is_settled(&self.intake) {
            let done = self.lanes.join().await;
            self.settle(done)?;
        }
        Ok(())
    }

    /// Lets what is under way come to its end, whatever that is. Where a policy ends the run of several
    /// writers, they commit what they have, so that all of them stand behind what the run failed for.
    async fn wind_up(&mut self, by_policy: bool) {
        let mut commit_rest = by_policy && self.lanes.filling.len() > 1;
        loop {
            if commit_rest {
                self.lanes.start_all(&self.intake);
            }
            if !self.lanes.is_busy() {
                return;
            }
            let done = self.lanes.join().await;
            if let Err(error) = self.settle(done)
                && error.kind() != ErrorKind::BadEvent
            {
                tracing::warn!("{error}");
                commit_rest = false;
            }
        }
    }

    async fn finish_jobs(&mut self) -> Result<(), Error> {
        while self.lanes.is_busy() {
            let done = self.lanes.join().await;
            self.settle(done)?;
        }
        Ok(())
    }

    /// Takes a session back and counts what was committed.
    fn settle(&mut self, done: Result<Done, JoinError>) -> Result<(), Error> {
        let done = done.map_err(|error| {
            Error::new(ErrorKind::Database, format!("the store ended unexpectedly: {error}"))
        })?;
        let Some(mut done) = self.lanes.put_back(done) else { return Ok(()) };
        self.report.position = self.lanes.position();
        let (batch, work) = (&done.batch, done.work);
        let result = std::mem::replace(&mut done.result, Ok(None));
        if let Some(mut committed) = result? {
            self.progress.trouble(committed.dead_letters, &committed.reasons);
            self.progress.gaps(&batch.gaps);
            if work != Work::Commit {
                // Missed events of earlier offsets, or none at all.
                (committed.first, committed.last) = (None, None);
            }
            let several = self.lanes.filling.len() > 1;
            self.report.count(&committed, batch.gaps.len() as u64, several);
            if committed.gaps_repaired > 0 {
                tracing::info!(
                    "{} gaps repaired: all their events have come",
                    committed.gaps_repaired
                );
            }
            if self.config.gap_policy == GapPolicy::Fail {
                self.missed.extend(&batch.gaps);
            }
            self.grow.extend(std::mem::take(&mut done.batch.grow));
            self.lanes.recycle(done);
            self.aim();
            self.check_gaps_tried()?;
            self.progress.tick(&self.report);
            if let Some(why) = committed.halt.take().or_else(|| self.too_many(false)) {
                return Err(Error::new(ErrorKind::BadEvent, why));
            }
        }
        Ok(())
    }

    /// What to say if the run has left more dead letters behind than it may.
    fn too_many(&self, at_the_end: bool) -> Option<String> {
        let (dead, events) = (self.report.dead_letters, self.report.events_processed);
        match self.config.bad_events {
            BadEvents::KeepUpTo(max) if max.is_exceeded(dead, events, at_the_end) => Some(format!(
                "stream {:?}: {dead} dead letters among {events} events of this run, more than the limit of {max}; what landed is kept. See `python -m sse_stream dead-letters list --stream {}`",
                self.report.stream, self.report.stream
            )),
            BadEvents::Fail if dead > 0 => Some(format!(
                "stream {:?}: {dead} events that had waited for a parent became dead letters and the policy is to fail; see `python -m sse_stream dead-letters list --stream {}`",
                self.report.stream, self.report.stream
            )),
            _ => None,
        }
    }

    /// Mirrors the offset, closes the run's history and turns the end into the result.
    pub(crate) async fn finish(
        mut self,
        ended: Result<StopReason, Error>,
        host: &Arc<dyn Host>,
        stop: &Stop,
    ) -> Result<Report, Error> {
        self.report.execution_time = self.started.elapsed();
        if self.intake.has_no_ids() {
            self.report.resume_class = ResumeClass::None;
        }
        let by_source = ended.as_ref().is_err_and(|error| error.kind() != ErrorKind::Database)
            && !stop.is_set();
        if by_source {
            // What is being committed stands and counts, and the books want their line closed.
            let by_policy = ended.as_ref().is_err_and(|it| it.kind() == ErrorKind::BadEvent);
            let _ = tokio::time::timeout(COMMIT_PATIENCE, self.wind_up(by_policy)).await;
        }
        self.lanes.abort();
        if let Ok(reason) = &ended {
            self.report.stop_reason = *reason;
        }
        let mirrored = match self.lanes.lead_mut() {
            Some(store) => {
                let report = &self.report;
                let closing = async {
                    let mirrored = show(store, report.position, host).await;
                    store.end_run(report, ended.as_ref().err()).await;
                    mirrored
                };
                // Nobody who asked for a stop waits for a database that hangs.
                let patience = if stop.is_set() { STOP_GRACE / 2 } else { COMMIT_PATIENCE };
                let closed = tokio::time::timeout(patience, closing).await;
                closed.unwrap_or_else(|_| Err(no_answer("close the run")))
            }
            None => Ok(()),
        };
        self.progress.end(&self.report, ended.as_ref().err());
        ended?;
        match mirrored {
            // The offset row says where things stand; the mirror is written again by the next run.
            Err(error) if stop.is_set() => tracing::warn!("{error}"),
            mirrored => mirrored?,
        }
        Ok(self.report)
    }
}

async fn fetch(backfill: &mut Option<Backfill>) {
    match backfill {
        Some(backfill) => backfill.advance().await,
        None => std::future::pending().await,
    }
}
