//! The writers of a run, each with its batch, its session and its commits: batches fill while those
//! before them are being committed.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tracing::instrument::WithSubscriber;

use crate::batch::Batch;
use crate::config::{RunConfig, Stop};
use crate::error::{Error, ErrorKind};
use crate::gaps::{Ledger, OpenGaps};
use crate::host::Host;
use crate::intake::Intake;
use crate::recovery;
use crate::settle::Committed;
use crate::store::Store;

/// How long the database may take for one commit before its session is taken for dead, and after
/// what time the log says that it is slow.
const SESSION_PATIENCE: Duration = Duration::from_secs(60);
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// How long a run goes on trying to reach the database again: this long beyond its deadline, or
/// this long where it has none.
const RECOVERY_GRACE: Duration = Duration::from_secs(15);
const RECOVERY_PATIENCE: Duration = Duration::from_secs(600);

/// The books note at most this often that the source was heard, or that a writer which got nothing
/// has nothing outstanding.
const TOUCH_EVERY: Duration = Duration::from_millis(900);

/// Below this a batch could not take in what one chunk of the source brings.
const SMALLEST_BATCH: usize = 64 << 10;

/// What a session was busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Commit,
    /// Missed events of earlier offsets.
    Repair,
    /// The events that wait for a parent.
    Revisit,
    /// A note that the source was heard.
    Touch,
}

/// What a job gives back: the session (unless it is lost for good), the batch, and what a commit
/// decided.
pub(crate) struct Done {
    writer: usize,
    pub(crate) work: Work,
    store: Option<Store>,
    pub(crate) batch: Batch,
    pub(crate) result: Result<Option<Committed>, Error>,
}

/// The writers.
pub(crate) struct Lanes {
    config: Arc<RunConfig>,
    host: Arc<dyn Host>,
    stop: Stop,
    started: Instant,
    max_bytes: usize,
    /// The batches that are being filled, by writer.
    pub(crate) filling: Vec<Batch>,
    lanes: Vec<Lane>,
    jobs: JoinSet<Done>,
    /// Missed events are being landed.
    repairing: bool,
    /// The waiting events are being looked at.
    revisiting: bool,
    ledger: Arc<Ledger>,
}

struct Lane {
    /// Present while no job runs.
    store: Option<Store>,
    /// What its row says.
    position: i64,
    /// When the first event of the filling batch came.
    since: Option<Instant>,
    /// An emptied batch, kept for its buffers.
    spare: Option<Batch>,
    written_at: Instant,
}

impl Lanes {
    pub(crate) fn new(
        config: Arc<RunConfig>,
        host: Arc<dyn Host>,
        stop: Stop,
        stores: Vec<Store>,
    ) -> Self {
        let now = Instant::now();
        let ledger = stores[0].shared().ledger;
        let filling = stores.iter().map(|store| Batch::new(store.catalog().routes.len())).collect();
        let max_bytes = config.batch.max_bytes;
        let max_bytes = (max_bytes / stores.len()).max(SMALLEST_BATCH.min(max_bytes));
        let lane = |store: Store| Lane {
            position: store.offset().position,
            store: Some(store),
            since: None,
            spare: None,
            written_at: now,
        };
        Self {
            lanes: stores.into_iter().map(lane).collect(),
            jobs: JoinSet::new(),
            repairing: false,
            revisiting: false,
            ledger,
            started: now,
            max_bytes,
            filling,
            config,
            host,
            stop,
        }
    }

    /// Where the stream stands: what came up to here is committed, whoever wrote it.
    pub(crate) fn position(&self) -> i64 {
        self.lanes.iter().map(|lane| lane.position).min().unwrap_or(0)
    }

    /// Whether any batch may take in more.
    pub(crate) fn has_room(&self) -> bool {
        self.filling.iter().all(|batch| batch.bytes() < self.max_bytes)
    }

    /// Events have been taken into the batches.
    pub(crate) fn note_filling(&mut self) {
        for (lane, batch) in self.lanes.iter_mut().zip(&self.filling) {
            if !batch.is_empty() {
                lane.since.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Whether everything that was taken is with the database.
    fn is_drained(&self, intake: &Intake) -> bool {
        let mut lanes = self.lanes.iter().zip(&self.filling);
        lanes.all(|(lane, batch)| batch.is_empty() && !lane.is_behind(intake))
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
    }

    pub(crate) fn is_repairing(&self) -> bool {
        self.repairing
    }

    /// Offsets of the present epoch that the source passed over and that nobody has brought since.
    pub(crate) fn gaps(&self) -> Arc<OpenGaps> {
        self.ledger.open()
    }

    /// Whether the first writer has nothing to do.
    pub(crate) fn is_lead_free(&self) -> bool {
        self.lanes[0].store.is_some()
    }

    /// The first writer, which holds the stream's lock, while it has nothing to do.
    pub(crate) fn lead_mut(&mut self) -> Option<&mut Store> {
        self.lanes[0].store.as_mut()
    }

    /// Starts the commits that are due, and notes in the books where a writer has long had nothing
    /// to commit. True if it was noted that the source was heard.
    pub(crate) fn start_due(&mut self, intake: &Intake, heard: Option<Instant>) -> bool {
        let mut told = false;
        if self.revisiting {
            return told;
        }
        for writer in 0..self.lanes.len() {
            let (lane, batch) = (&self.lanes[writer], &self.filling[writer]);
            if lane.store.is_none() {
                continue;
            }
            let config = &self.config.batch;
            let due = batch.events.len() >= config.events
                || batch.bytes() >= self.max_bytes / 4
                || lane.due_at(config.linger).is_some_and(|at| at <= Instant::now());
            let idle = lane.since.is_none() && lane.written_at.elapsed() >= TOUCH_EVERY;
            if due || (idle && lane.is_behind(intake)) {
                self.start_commit(writer, intake);
                told |= writer == 0;
            } else if let Some(heard) = heard.filter(|_| idle && writer == 0) {
                self.start_touch(heard);
                told = true;
            }
        }
        told
    }

    /// When [`Lanes::start_due`] should be asked again, whatever else happens.
    pub(crate) fn next_due(&self, intake: &Intake, heard: Option<Instant>) -> Option<Instant> {
        if self.revisiting {
            return None;
        }
        let free = self.lanes.iter().enumerate().filter(|(_, lane)| lane.store.is_some());
        let due = free.filter_map(|(writer, lane)| match lane.due_at(self.config.batch.linger) {
            Some(at) => Some(at),
            None => (lane.is_behind(intake) || (writer == 0 && heard.is_some()))
                .then(|| lane.written_at + TOUCH_EVERY),
        });
        due.min()
    }

    /// Starts a commit for every writer that is free and has something. Not after a batch was given
    /// up: its writer's row must stay below it.
    pub(crate) fn start_all(&mut self, intake: &Intake) {
        for writer in 0..self.lanes.len() {
            if !self.filling[writer].is_empty() || self.lanes[writer].is_behind(intake) {
                self.start_commit(writer, intake);
            }
        }
    }

    fn start_commit(&mut self, writer: usize, intake: &Intake) {
        if self.revisiting {
            return;
        }
        let lane = &mut self.lanes[writer];
        let Some(mut store) = lane.store.take() else { return };
        let filling = &mut self.filling[writer];
        let empty = lane.spare.take().unwrap_or_else(|| Batch::new(filling.rows.len()));
        let mut batch = std::mem::replace(filling, empty);
        intake.epoch().clone_into(&mut batch.epoch);
        batch.position = Some(intake.position());
        batch.peak = intake.peak();
        batch.resume_token = intake.resume_token().map(str::to_owned);
        lane.since = None;
        // A processor may take its time; the database may not.
        let own = batch.events.iter().any(|event| self.host.processor(batch.event_type(event)));
        let patience = if own { Duration::MAX } else { SESSION_PATIENCE };
        self.spawn(writer, Work::Commit, async move {
            let result = patiently(patience, store.commit(&mut batch)).await.map(Some);
            (Some(store), batch, result)
        });
    }

    /// Lands missed events, which move no position. The first writer must be free.
    pub(crate) fn start_repair(&mut self, mut batch: Batch, epoch: &str) {
        let Some(mut store) = self.lanes[0].store.take() else { return };
        epoch.clone_into(&mut batch.epoch);
        self.repairing = true;
        self.spawn(0, Work::Repair, async move {
            let result = patiently(SESSION_PATIENCE, store.commit(&mut batch)).await.map(Some);
            (Some(store), batch, result)
        });
    }

    /// Looks at the waiting events. No writer may be busy, and none begins until it is done: a parent
    /// that another one is just landing would be missed by both.
    pub(crate) fn start_revisit(&mut self) {
        let Some(mut store) = self.lanes[0].store.take() else { return };
        self.revisiting = true;
        let (max_wait, routes) = (self.config.max_wait, self.filling[0].rows.len());
        self.spawn(0, Work::Revisit, async move {
            let result = store.revisit(max_wait).await.map(Some);
            (Some(store), Batch::new(routes), result)
        });
    }

    fn start_touch(&mut self, heard: Instant) {
        let Some(mut store) = self.lanes[0].store.take() else { return };
        self.spawn(0, Work::Touch, async move {
            let result = patiently(SESSION_PATIENCE, store.touch(heard)).await.map(|()| None);
            (Some(store), Batch::default(), result)
        });
    }

    /// Gets a new session after the database broke off, and finishes the batch with it.
    fn start_recovery(
        &mut self,
        writer: usize,
        work: Work,
        store: Store,
        mut batch: Batch,
        error: Error,
    ) {
        tracing::warn!("{error}; connecting to the database again");
        let (footing, shared) = (store.footing(), store.shared());
        drop(store);
        let (config, host, stop) = (self.config.clone(), self.host.clone(), self.stop.clone());
        let until = match self.config.limits.timeout {
            Some(timeout) => self.started + timeout + RECOVERY_GRACE,
            None => Instant::now() + RECOVERY_PATIENCE,
        };
        self.spawn(writer, work, async move {
            let lost = (footing, shared);
            match recovery::regain(&config, &host, &stop, lost, until, error).await {
                Ok(mut store) => {
                    let result = store.finish(&footing, &mut batch).await;
                    (Some(store), batch, result)
                }
                Err(error) => (None, batch, Err(error)),
            }
        });
    }

    fn spawn(
        &mut self,
        writer: usize,
        work: Work,
        job: impl Future<Output = (Option<Store>, Batch, Result<Option<Committed>, Error>)>
        + Send
        + 'static,
    ) {
        let job = async move {
            let (store, batch, result) = job.await;
            Done { writer, work, store, batch, result }
        };
        self.jobs.spawn(job.with_current_subscriber());
    }

    /// The next job to end. Dropping the future and calling again loses nothing; without jobs it
    /// waits for ever.
    pub(crate) async fn join(&mut self) -> Result<Done, JoinError> {
        match self.jobs.join_next().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// Takes the session back. `None` where that ends nothing: the session is being regained, or a
    /// stop came in between; then nothing of the batch stands, or soon it will.
    pub(crate) fn put_back(&mut self, mut done: Done) -> Option<Done> {
        let lane = &mut self.lanes[done.writer];
        if done.work != Work::Revisit {
            // A look at the waiting events notes nothing in the books.
            lane.written_at = Instant::now();
        }
        match done.work {
            Work::Repair => self.repairing = false,
            Work::Revisit => self.revisiting = false,
            Work::Commit | Work::Touch => {}
        }
        if let Err(error) = &done.result {
            if error.is_transient() && self.stop.is_set() {
                tracing::warn!("{error}");
                return None;
            }
            if error.kind() == ErrorKind::Database
                && let Some(store) = done.store.take()
            {
                let Done { writer, work, batch, result: Err(error), .. } = done else {
                    return None;
                };
                self.repairing |= work == Work::Repair;
                self.revisiting |= work == Work::Revisit;
                self.start_recovery(writer, work, store, batch, error);
                return None;
            }
        }
        if let Some(store) = done.store.take() {
            lane.position = store.offset().position;
            lane.store = Some(store);
        }
        Some(done)
    }

    /// Keeps the batch's buffers for later.
    pub(crate) fn recycle(&mut self, mut done: Done) {
        done.batch.clear();
        self.lanes[done.writer].spare = Some(done.batch);
    }

    /// Whether everything that was taken is committed; starts what can be started of it.
    pub(crate) fn is_settled(&mut self, intake: &Intake) -> bool {
        self.start_all(intake);
        !self.is_busy() && self.is_drained(intake)
    }

    /// Moves all writers to the beginning of another history, and says where that is. No job may run.
    pub(crate) async fn begin_epoch(&mut self, epoch: &str) -> Result<i64, Error> {
        let fences: Vec<(i32, i64)> =
            self.lanes.iter().filter_map(|lane| lane.store.as_ref()).map(Store::fence).collect();
        let Some(lead) = self.lead_mut() else { return Ok(0) };
        let offset = lead.begin_epoch(epoch, &fences).await?;
        for lane in &mut self.lanes {
            lane.position = offset.position;
        }
        for store in self.lanes[1..].iter_mut().filter_map(|lane| lane.store.as_mut()) {
            let (_, fence) = store.fence();
            store.stand(offset.clone(), fence);
        }
        Ok(offset.position)
    }

    /// Gives up what is under way.
    pub(crate) fn abort(&mut self) {
        self.jobs.abort_all();
    }
}

impl Lane {
    /// When its batch is due. The first event after a pause does not wait for others.
    fn due_at(&self, linger: Duration) -> Option<Instant> {
        self.since.map(|since| since.min(self.written_at) + linger)
    }

    /// Whether its row says less than it has committed: the stream went on without it.
    fn is_behind(&self, intake: &Intake) -> bool {
        self.position != intake.position()
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

pub(crate) fn no_answer(what: &str) -> Error {
    let message = format!("the database did not answer in time to {what}; see that it is up");
    Error::new(ErrorKind::Database, message)
}
