//! The only loop: reads the source, fills batches, hands them to the store one at a time, and
//! ends with a report. While a commit is under way the next batch fills with what arrives.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinHandle};
use tracing::instrument::WithSubscriber;

use crate::backfill::Backfill;
use crate::batch::{Batch, Gap};
use crate::config::{BadEvents, GapPolicy, RunConfig, Stop};
use crate::error::{Error, ErrorKind};
use crate::handover::{open, show};
use crate::host::Host;
use crate::intake::Intake;
use crate::progress::Progress;
use crate::recovery;
use crate::report::{Report, StopReason};
use crate::settle::Committed;
use crate::source::{Signal, Source};
use crate::store::Store;

/// How long a stop waits for the commit under way before it gives the connection up. The database
/// then rolls back; either way the stored offset tells what stands.
const STOP_GRACE: Duration = Duration::from_millis(600);

/// How long the end of a run waits for the database: for its last commit, and to close its books.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);

/// How long the database may take for one commit before its session is taken for dead, and after
/// what time the log says that it is slow.
const SESSION_PATIENCE: Duration = Duration::from_secs(60);
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// How long a run goes on trying to reach the database again: this long beyond its deadline, or
/// this long where it has none.
const RECOVERY_GRACE: Duration = Duration::from_secs(15);
const RECOVERY_PATIENCE: Duration = Duration::from_secs(600);

/// How long the end of a run goes on fetching missed events.
const REPAIR_GRACE: Duration = Duration::from_secs(10);

/// How often waiting events are tried again whose parent came by another way.
const REVISIT_EVERY: Duration = Duration::from_secs(60);

/// The books note at most this often that the source was heard.
const TOUCH_EVERY: Duration = Duration::from_millis(900);

/// Reads the source until a limit, the end of the stream or `stop`, and lands its events.
///
/// Waits for the stream's lock first. Everything that the report counts is committed; on an error,
/// too, the stored offset says exactly what stands, and the next run goes on from there.
pub async fn run(config: RunConfig, host: Arc<dyn Host>, stop: Stop) -> Result<Report, Error> {
    let opened = tokio::select! {
        opened = Box::pin(open(&config, &host, &stop)) => opened?,
        () = overdue(&stop) => None,
    };
    let Some(store) = opened else {
        return Ok(empty_report(&config, StopReason::Stopped));
    };

    let mut pipeline = Pipeline::new(config, store, host.clone(), stop.clone())?;
    let ended = tokio::select! {
        ended = Box::pin(pipeline.drive()) => ended,
        () = overdue(&stop) => {
            tracing::warn!("stop was asked for and the database did not answer in time; giving the connection up");
            Ok(StopReason::Stopped)
        }
    };
    Box::pin(pipeline.finish(ended, &host, &stop)).await
}

async fn overdue(stop: &Stop) {
    stop.wait().await;
    tokio::time::sleep(STOP_GRACE).await;
}

fn empty_report(config: &RunConfig, stop_reason: StopReason) -> Report {
    Report {
        stream: config.stream.clone().unwrap_or_else(|| config.preset.stream.name.clone()),
        events_processed: 0,
        rows: Default::default(),
        duplicates: 0,
        dead_letters: 0,
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
        epoch: None,
        reconnects: 0,
        stop_reason,
        execution_time: Duration::ZERO,
    }
}

/// What a job gives back: the store (unless its session is lost for good), the batch, and what a
/// commit decided.
type JobOutput = (Option<Store>, Batch, Result<Option<Committed>, Error>);
type Job = JoinHandle<JobOutput>;

struct Pipeline {
    config: Arc<RunConfig>,
    host: Arc<dyn Host>,
    stop: Stop,
    source: Source,
    intake: Intake,
    backfill: Option<Backfill>,
    /// Gaps of this run that are still to be repaired where the policy is to fail.
    missed: Vec<Gap>,
    /// The batch that is being filled, and when its first event came.
    filling: Batch,
    since: Option<Instant>,
    /// An emptied batch, kept for its buffers.
    spare: Option<Batch>,
    /// Present while no job runs.
    store: Option<Store>,
    job: Option<Job>,
    report: Report,
    started: Instant,
    last_event_at: Instant,
    heard: bool,
    /// Until the source has answered once: what it last failed with.
    unreached: Option<String>,
    written_at: Instant,
    revisit_at: Instant,
    progress: Progress,
}

impl Pipeline {
    fn new(
        config: RunConfig,
        store: Store,
        host: Arc<dyn Host>,
        stop: Stop,
    ) -> Result<Self, Error> {
        let source = Source::open(&config, store.offset().position)?;
        let intake = Intake::new(&config, store.catalog(), host.clone(), store.offset());
        let backfill = Backfill::open(&config, store.catalog(), host.clone(), store.offset())?;
        let mut report = empty_report(&config, StopReason::Stopped);
        report.position = store.offset().position;
        report.epoch = store.offset().epoch.clone();
        let now = Instant::now();
        Ok(Self {
            filling: Batch::new(store.catalog().routes.len()),
            spare: None,
            since: None,
            store: Some(store),
            job: None,
            source,
            intake,
            backfill,
            missed: Vec::new(),
            report,
            started: now,
            last_event_at: now,
            heard: false,
            unreached: Some("no answer yet".to_owned()),
            written_at: now,
            revisit_at: now,
            progress: Progress::new(config.progress_every),
            config: Arc::new(config),
            host,
            stop,
        })
    }

    /// Runs until there is a reason to stop, and commits what was taken until then.
    async fn drive(&mut self) -> Result<StopReason, Error> {
        let reason = loop {
            self.take_in();
            if let Some(reason) = self.reason_to_stop() {
                break reason;
            }
            self.start_job();
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
        } else if self.job.is_some() {
            self.finish_job().await?;
        }
        self.check_gaps()?;
        if let Some(why) = self.too_many(true) {
            return Err(Error::new(ErrorKind::BadEvent, why));
        }
        Ok(reason)
    }

    /// Moves parsed events into the batch while there is room.
    fn take_in(&mut self) {
        if !self.has_room() {
            // Not the source is silent, we do not listen.
            self.last_event_at = Instant::now();
        }
        while self.has_room() {
            let Some(item) = self.source.next_item() else { break };
            let was_event = self.intake.take(item, &mut self.filling);
            if was_event {
                self.source.has_given();
            }
            if !self.filling.is_empty() {
                self.since.get_or_insert_with(Instant::now);
            }
            if was_event {
                self.last_event_at = Instant::now();
            }
        }
    }

    fn has_room(&self) -> bool {
        self.filling.bytes() < self.config.batch.max_bytes && !self.limit_reached()
    }

    fn limit_reached(&self) -> bool {
        self.config.limits.max_events.is_some_and(|max| self.intake.taken() >= max)
    }

    fn reason_to_stop(&self) -> Option<StopReason> {
        let limits = &self.config.limits;
        if self.stop.is_set() {
            Some(StopReason::Stopped)
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

    /// Starts what is due: a look at the waiting events, a commit, or else notes in the books that the source was heard.
    fn start_job(&mut self) {
        if self.job.is_some() {
            return;
        }
        let batch = &self.config.batch;
        let due = self.filling.events.len() >= batch.events
            || self.filling.bytes() >= batch.max_bytes / 4
            || self.since.is_some_and(|since| since.elapsed() >= batch.linger);
        if self.revisit_at <= Instant::now() {
            return self.start_revisit();
        }
        if self.start_repair() {
            return;
        }
        if due {
            self.start_commit();
        } else if self.heard && self.since.is_none() && self.written_at.elapsed() >= TOUCH_EVERY {
            self.start_touch();
        }
    }

    fn start_commit(&mut self) {
        if self.filling.is_empty() {
            return;
        }
        let Some(mut store) = self.store.take() else { return };
        let empty = self.spare.take().unwrap_or_else(|| Batch::new(self.filling.rows.len()));
        let mut batch = std::mem::replace(&mut self.filling, empty);
        batch.epoch = self.intake.epoch().to_owned();
        self.since = None;
        self.heard = false;
        // A processor may take its time; the database may not.
        let own = batch.events.iter().any(|event| self.host.processor(batch.event_type(event)));
        let patience = if own { Duration::MAX } else { SESSION_PATIENCE };
        self.spawn(async move {
            let result = patiently(patience, store.commit(&mut batch)).await.map(Some);
            (Some(store), batch, result)
        });
    }

    /// Hands missed events to the store, if some have been fetched. One page at a time: the next
    /// one is fetched while the live stream goes on.
    fn start_repair(&mut self) -> bool {
        if self.store.is_none() {
            return false;
        }
        let Some(mut batch) = self.backfill.as_mut().and_then(Backfill::take) else {
            return false;
        };
        let Some(mut store) = self.store.take() else { return false };
        batch.epoch = self.intake.epoch().to_owned();
        self.spawn(async move {
            let result = store.commit(&mut batch).await.map(Some);
            (Some(store), batch, result)
        });
        true
    }

    /// Chooses the next missed events to fetch, now that the store is here.
    fn aim(&mut self) {
        if let (Some(backfill), Some(store)) = (&mut self.backfill, &self.store) {
            backfill.aim(store.gaps(), self.intake.epoch());
        }
    }

    /// Fetches and lands what this run has not asked the twin for yet, for a while.
    async fn repair_all(&mut self) -> Result<(), Error> {
        let until = Instant::now() + REPAIR_GRACE;
        self.aim();
        while self.backfill.as_ref().is_some_and(Backfill::is_busy) && Instant::now() < until {
            if self.start_repair() {
                self.finish_job().await?;
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
        while self.job.is_some() {
            self.finish_job().await?;
        }
        Ok(())
    }

    fn check_gaps_tried(&mut self) -> Result<(), Error> {
        match &self.backfill {
            Some(backfill) if backfill.is_busy() || self.job.is_some() => Ok(()),
            _ => self.check_gaps(),
        }
    }

    /// Fails the run for a gap that stays open, where that is the policy and nothing more is
    /// tried.
    fn check_gaps(&mut self) -> Result<(), Error> {
        if let Some(store) = &self.store {
            self.missed.retain(|gap| store.gaps().overlaps(&(gap.first..=gap.last)));
        }
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

    fn start_revisit(&mut self) {
        let Some(mut store) = self.store.take() else { return };
        self.revisit_at = Instant::now() + REVISIT_EVERY;
        let (max_wait, routes) = (self.config.max_wait, self.filling.rows.len());
        self.spawn(async move {
            let result = store.revisit(max_wait).await.map(Some);
            (Some(store), Batch::new(routes), result)
        });
    }

    fn start_touch(&mut self) {
        let Some(mut store) = self.store.take() else { return };
        self.heard = false;
        self.spawn(async move {
            let result = patiently(SESSION_PATIENCE, store.touch()).await.map(|()| None);
            (Some(store), Batch::default(), result)
        });
    }

    /// Gets a new session after the database broke off, and finishes the batch with it.
    fn start_recovery(&mut self, store: Store, mut batch: Batch, error: Error) {
        tracing::warn!("{error}; connecting to the database again");
        let footing = store.footing();
        drop(store);
        let (config, host, stop) = (self.config.clone(), self.host.clone(), self.stop.clone());
        let until = match self.config.limits.timeout {
            Some(timeout) => self.started + timeout + RECOVERY_GRACE,
            None => Instant::now() + RECOVERY_PATIENCE,
        };
        self.spawn(async move {
            let regained = recovery::regain(&config, &host, &stop, footing, until, error).await;
            match regained {
                Ok(mut store) => {
                    let result = store.finish(&footing, &mut batch).await;
                    (Some(store), batch, result)
                }
                Err(error) => (None, batch, Err(error)),
            }
        });
    }

    fn spawn(&mut self, job: impl Future<Output = JobOutput> + Send + 'static) {
        self.job = Some(tokio::spawn(job.with_current_subscriber()));
    }

    /// Waits for the next thing to happen: bytes, the end of a job, a timer or the stop flag.
    async fn wait(&mut self) -> Result<Option<StopReason>, Error> {
        let wake_at = self.next_timer();
        let reading = self.has_room();
        let fetching = self.backfill.as_ref().is_some_and(Backfill::is_asking);
        tokio::select! {
            biased;
            () = self.stop.wait() => Ok(None),
            done = join(&mut self.job), if self.job.is_some() => {
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
        let linger =
            self.since.filter(|_| self.job.is_none()).map(|at| at + self.config.batch.linger);
        [
            Some(self.progress.due_at()),
            linger,
            limits.timeout.map(|timeout| self.started + timeout),
            limits.idle_timeout.map(|idle| self.last_event_at + idle),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or_else(|| Instant::now() + Duration::from_secs(1))
    }

    async fn hear(&mut self, signal: Signal) -> Result<Option<StopReason>, Error> {
        match signal {
            Signal::Bytes => self.heard = true,
            Signal::Connected { epoch, anchor } => {
                self.unreached = None;
                self.intake.connected();
                let goes_on = self.meet_epoch(epoch).await?;
                if let Some(anchor) = anchor.filter(|_| goes_on) {
                    self.intake.anchored(&anchor, &mut self.filling);
                    if !self.filling.is_empty() {
                        self.since.get_or_insert_with(Instant::now);
                    }
                }
            }
            Signal::Gone => self.intake.gone(),
            Signal::Disconnected { reason, retry_in } => {
                self.report.reconnects += 1;
                self.unreached = self.unreached.take().map(|_| reason.clone());
                tracing::warn!("source: {reason}; trying again in {:.1} s", retry_in.as_secs_f64());
            }
            Signal::End => return Ok(Some(StopReason::EndOfStream)),
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
        if let Some(store) = &mut self.store {
            store.begin_epoch(&epoch).await?;
        }
        self.intake.begin(&epoch);
        if let Some(backfill) = &mut self.backfill {
            backfill.begin();
        }
        self.report.position = 0;
        self.report.epoch = Some(epoch);
        self.source.restart(0);
        Ok(false)
    }

    /// Commits everything that was taken.
    async fn commit_all(&mut self) -> Result<(), Error> {
        while self.job.is_some() || !self.filling.is_empty() {
            self.start_commit();
            self.finish_job().await?;
        }
        Ok(())
    }

    async fn finish_job(&mut self) -> Result<(), Error> {
        if self.job.is_some() {
            let done = join(&mut self.job).await;
            self.settle(done)?;
        }
        Ok(())
    }

    /// Takes the store back and counts what was committed.
    fn settle(&mut self, done: Result<JobOutput, JoinError>) -> Result<(), Error> {
        let (store, mut batch, result) = done.map_err(|error| {
            Error::new(ErrorKind::Database, format!("the store ended unexpectedly: {error}"))
        })?;
        self.written_at = Instant::now();
        let result = match (store, result) {
            // Nothing of the batch stands; the next run reads it again.
            (_, Err(error)) if error.is_transient() && self.stop.is_set() => {
                tracing::warn!("{error}");
                return Ok(());
            }
            (Some(store), Err(error)) if error.kind() == ErrorKind::Database => {
                self.start_recovery(store, batch, error);
                return Ok(());
            }
            (store, result) => {
                self.report.position =
                    store.as_ref().map_or(self.report.position, |store| store.offset().position);
                self.store = store;
                result
            }
        };
        if let Some(mut committed) = result? {
            self.progress.trouble(committed.dead_letters, &committed.reasons);
            self.progress.gaps(&batch.gaps);
            if batch.position.is_none() {
                // Missed events of earlier offsets, or none at all.
                (committed.first, committed.last) = (None, None);
            }
            self.count(&committed, batch.gaps.len() as u64);
            if committed.gaps_repaired > 0 {
                tracing::info!(
                    "{} gaps repaired: all their events have come",
                    committed.gaps_repaired
                );
            }
            if self.config.gap_policy == GapPolicy::Fail {
                self.missed.extend(&batch.gaps);
            }
            batch.clear();
            self.spare = Some(batch);
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
                "stream {:?}: {dead} dead letters among {events} events of this run, more than the limit of {max}; what landed is kept. See `python -m sse_stream dead-letters list`",
                self.report.stream
            )),
            BadEvents::Fail if dead > 0 => Some(format!(
                "stream {:?}: {dead} events that had waited for a parent became dead letters and the policy is to fail; see `python -m sse_stream dead-letters list`",
                self.report.stream
            )),
            _ => None,
        }
    }

    fn count(&mut self, committed: &Committed, gaps: u64) {
        let report = &mut self.report;
        report.events_processed += committed.events;
        report.duplicates += committed.duplicates;
        report.dead_letters += committed.dead_letters;
        report.waiting += committed.waiting;
        report.resumed += committed.resumed;
        report.ignored += committed.ignored;
        report.bytes += committed.bytes;
        report.gaps += gaps;
        report.gaps_repaired += committed.gaps_repaired;
        report.batches_processed += u64::from(committed.events > 0);
        report.first_offset = report.first_offset.or(committed.first);
        report.last_offset = committed.last.or(report.last_offset);
        for (table, rows) in &committed.rows {
            *report.rows.entry(table.clone()).or_default() += rows;
        }
    }

    /// Mirrors the offset, closes the run's history and turns the end into the result.
    async fn finish(
        mut self,
        ended: Result<StopReason, Error>,
        host: &Arc<dyn Host>,
        stop: &Stop,
    ) -> Result<Report, Error> {
        self.report.execution_time = self.started.elapsed();
        let by_source = ended.as_ref().is_err_and(|error| error.kind() != ErrorKind::Database)
            && !stop.is_set();
        if by_source && self.job.is_some() {
            // What is being committed stands and counts, and the books want their line closed.
            let settled = tokio::time::timeout(COMMIT_PATIENCE, self.finish_job()).await;
            if let Ok(Err(error)) = settled {
                tracing::warn!("{error}");
            }
        }
        if let Some(job) = self.job.take() {
            job.abort();
        }
        if let Ok(reason) = &ended {
            self.report.stop_reason = *reason;
        }
        let mirrored = match self.store.as_mut() {
            Some(store) => {
                let report = &self.report;
                let closing = async {
                    let mirrored = show(store, host).await;
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

/// Waits for the database, says so when it takes long, and gives the session up in the end.
async fn patiently<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::pin!(work);
    let started = Instant::now();
    if let Ok(done) = tokio::time::timeout(SLOW_AFTER.min(patience), &mut work).await {
        return done;
    }
    tracing::warn!(
        "the database has not answered for {} s (a lock, a hung server or network?); waiting on",
        SLOW_AFTER.as_secs()
    );
    let done = tokio::time::timeout(patience.saturating_sub(started.elapsed()), work).await;
    done.unwrap_or_else(|_| Err(no_answer("commit; its session is given up")))
}

fn no_answer(what: &str) -> Error {
    let message = format!("the database did not answer in time to {what}; see that it is up");
    Error::new(ErrorKind::Database, message)
}

async fn fetch(backfill: &mut Option<Backfill>) {
    match backfill {
        Some(backfill) => backfill.advance().await,
        None => std::future::pending().await,
    }
}

async fn join(job: &mut Option<Job>) -> Result<JobOutput, JoinError> {
    match job {
        Some(handle) => {
            let done = handle.await;
            *job = None;
            done
        }
        None => std::future::pending().await,
    }
}
