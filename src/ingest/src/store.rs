//! The only room that moves the offset: one session for each writer of a stream, one transaction
//! per batch with its rows, its dead letters and its offset. Writer 0 holds the stream's lock, too.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use futures_util::TryFutureExt;
use futures_util::future::{join, join3, try_join3, try_join4};
use tokio_postgres::{Client, Statement};

use crate::batch::{Batch, Fate};
use crate::catalog::Catalog;
use crate::config::{BadEvents, RunConfig, RunIdentity, Stop};
use crate::connect::Session;
use crate::error::{Error, ErrorKind};
use crate::gaps::{self, Ledger};
use crate::history;
use crate::host::Host;
use crate::land::Past;
use crate::lease::wait_for_lock;
use crate::mirror::Start;
use crate::notice::Notice;
use crate::offsets::{self, Key, Offset};
use crate::report::Report;
use crate::settle::{Committed, Settler};
use crate::waiting::Page;

/// What a new session must know of the lost one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footing {
    pub(crate) writer: i32,
    fence: i64,
    position: i64,
    history_id: Option<i64>,
}

/// What the writers of a run know in common.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub(crate) ledger: Arc<Ledger>,
    /// How many events wait, as far as this run knows.
    pub(crate) waiting: Arc<AtomicI64>,
}

/// One writer of the stream, which is held.
pub(crate) struct Store {
    session: Session,
    settler: Settler,
    stream: String,
    shard: i32,
    writer: i32,
    bad_events: BadEvents,
    /// Whether offsets are our own count.
    counted: bool,
    fence: i64,
    offset: Offset,
    shared: Shared,
    detour: Detour,
    statements: Statements,
    notice: Notice,
    history_id: Option<i64>,
}

/// How long batches are staged although their events are new: each refusal costs the work of its
/// batch once more, so they are tried less often the more often that happens.
#[derive(Default)]
struct Detour {
    left: u32,
    length: u32,
}

impl Detour {
    const SHORTEST: u32 = 4;
    const LONGEST: u32 = 64;

    /// Whether the next batch may be tried directly; asked once per batch.
    fn is_over(&mut self) -> bool {
        let over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        over
    }

    fn lengthen(&mut self) {
        self.length = (self.length * 2).clamp(Self::SHORTEST, Self::LONGEST);
        self.left = self.length;
    }

    fn end(&mut self) {
        self.length = 0;
    }
}

struct Statements {
    hold: Statement,
    advance: Statement,
    touch: Statement,
}

const READ: &str = "
    select epoch, position, high_water, highest, mirrored, previously_mirrored, resume_token
    from sse_stream.offsets where stream = $1 and shard = $2 and writer = $3";
const HOLD: &str = "
    select from sse_stream.offsets
    where stream = $1 and shard = $2 and writer = $3 and fence = $4 for update";
const RETAKE: &str = "
    update sse_stream.offsets set owner = $5, fence = fence + 1, updated_at = now()
    where stream = $1 and shard = $2 and writer = $3 and fence = $4";
const ADVANCE: &str = "
    update sse_stream.offsets
    set epoch = $5, position = $6, high_water = greatest(high_water, $7),
        highest = greatest(highest, $7), resume_token = $8, last_heard_at = now(), updated_at = now()
    where stream = $1 and shard = $2 and writer = $3 and fence = $4";
const TOUCH: &str = "
    update sse_stream.offsets
    set last_heard_at = greatest(last_heard_at, now() - make_interval(secs => $5))
    where stream = $1 and shard = $2 and writer = $3 and fence = $4";
const MIRROR: &str = "
    update sse_stream.offsets
    set previously_mirrored = mirrored, mirrored = $5, updated_at = now()
    where stream = $1 and shard = $2 and writer = $3 and fence = $4";
impl Store {
    /// Gets a session ready to write the stream: the offset is not touched yet, [`Store::take`] does
    /// that, once the caller knows where to start.
    pub(crate) async fn open(
        session: Session,
        config: &RunConfig,
        host: Arc<dyn Host>,
        (writer, catalog, shared): (i32, Arc<Catalog>, Shared),
    ) -> Result<Self, Error> {
        let stream = config.stream().to_owned();
        let client = &session.client;
        let key = (stream.as_str(), config.shard, config.run.run_id.as_str());
        let waiting = shared.waiting.clone();
        let failed = |error| Error::database("cannot use the books in schema sse_stream", error);
        let statements = try_join4(
            client.prepare(HOLD),
            client.prepare(ADVANCE),
            client.prepare(TOUCH),
            Notice::prepare(client),
        );
        let name = format!("{stream}#{}.{writer}", config.shard);
        let (settler, (hold, advance, touch, notice), ()) = try_join3(
            Settler::prepare(&session, catalog, host, key, waiting),
            statements.map_err(failed),
            session.name_writer(&name),
        )
        .await?;
        Ok(Self {
            settler,
            stream,
            shard: config.shard,
            writer,
            bad_events: config.bad_events,
            counted: config.preset.stream.ids.are_counted(),
            fence: 0,
            offset: Offset::default(),
            shared,
            detour: Detour::default(),
            statements: Statements { hold, advance, touch },
            notice,
            history_id: None,
            session,
        })
    }

    /// Waits for the stream's lock, which lives with the first writer's session. False when `stop` was
    /// set while waiting.
    pub(crate) async fn wait_for_lock(
        &self,
        config: &RunConfig,
        stop: &Stop,
    ) -> Result<bool, Error> {
        wait_for_lock(self.client(), &self.stream, config, stop).await
    }

    fn client(&self) -> &Client {
        &self.session.client
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        self.settler.catalog()
    }

    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    pub(crate) fn offset(&self) -> &Offset {
        &self.offset
    }

    fn key(&self) -> Key<'_> {
        (&self.stream, self.shard)
    }

    pub(crate) fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// The writer's number and fence.
    pub(crate) fn fence(&self) -> (i32, i64) {
        (self.writer, self.fence)
    }

    /// The stream's stored offset, `None` before its first run.
    pub(crate) async fn stored(&self) -> Result<Option<Offset>, Error> {
        offsets::read(self.client(), self.key()).await
    }

    pub(crate) fn footing(&self) -> Footing {
        Footing {
            writer: self.writer,
            fence: self.fence,
            position: self.offset.position,
            history_id: self.history_id,
        }
    }

    /// Goes on where a lost session of the same run stood, unless another run came in between.
    pub(crate) async fn retake(&mut self, footing: &Footing, owner: &str) -> Result<(), Error> {
        self.fence = footing.fence;
        self.history_id = footing.history_id;
        self.fenced(RETAKE, Some(&owner)).await?;
        // So that nothing of the lost session can be committed any more.
        self.fence += 1;
        let row = self
            .client()
            .query_one(READ, &[&self.stream, &self.shard, &self.writer])
            .await
            .map_err(|error| Error::database("cannot read sse_stream.offsets", error))?;
        self.offset = Offset::of(&row);
        self.read_gaps().await
    }

    /// Finishes a batch whose commit was cut off: it stands if the offset moved with it, or else
    /// it is committed now.
    pub(crate) async fn finish(
        &mut self,
        footing: &Footing,
        batch: &mut Batch,
    ) -> Result<Option<Committed>, Error> {
        if batch.is_empty() {
            return Ok(None);
        }
        let stands = batch.position.is_some_and(|position| {
            position != footing.position && position == self.offset.position
        });
        if let Some(outcome) = batch.outcome.take().filter(|_| stands) {
            tracing::info!(
                "the batch up to offset {} was committed after all",
                self.offset.position
            );
            return Ok(Some(outcome));
        }
        batch.undecide();
        self.commit(batch).await.map(Some)
    }

    /// Takes the stream for all `writers`: raises the fence, so that no earlier owner can commit
    /// any more, moves to where the mirror asks, and opens the run's line in the history.
    pub(crate) async fn take(
        &mut self,
        run: &RunIdentity,
        writers: i32,
        start: &Start,
    ) -> Result<(), Error> {
        let (begun, locked, stored) = join3(
            self.client().batch_execute("begin"),
            offsets::lock(self.client(), self.key()),
            self.stored(),
        )
        .await;
        begun.map_err(broke)?;
        let fence = locked?.unwrap_or(0) + 1;
        let mut offset = stored?.unwrap_or_default();
        match start {
            Start::Stored => {}
            Start::First { position, mirrored } => {
                (offset.position, offset.mirrored) = (*position, *mirrored);
            }
            Start::Seek { to, .. } => {
                offset.position = *to;
                offset.previously_mirrored = offset.mirrored.replace(*to);
            }
        }
        let token = offset.resume_token.take().unwrap_or_default();
        offset.resume_token = self.counted.then_some(token);
        self.stand(offset, fence);
        let owner = (run.owner.as_str(), fence);
        let written = offsets::write(self.client(), self.key(), writers, &self.offset, owner);
        let begun = history::begin_run(self.client(), self.key(), run);
        let begun = try_join3(written, begun, self.read_gaps());
        // Where one of them fails, there is nothing left to commit.
        let (begun, committed) = join(begun, self.client().batch_execute("commit")).await;
        let ((), history_id, ()) = begun?;
        committed.map_err(broke)?;
        self.history_id = Some(history_id);
        Ok(())
    }

    /// Stands where the rows of all writers have just been put.
    pub(crate) fn stand(&mut self, offset: Offset, fence: i64) {
        (self.offset, self.fence) = (offset, fence);
    }

    async fn read_gaps(&self) -> Result<(), Error> {
        self.shared.ledger.read(self.client(), self.key(), self.offset.epoch.as_deref()).await
    }

    /// Records that the mirror is about to show this position.
    pub(crate) async fn mirror(&mut self, position: i64) -> Result<(), Error> {
        self.fenced(MIRROR, Some(&position)).await?;
        self.offset.previously_mirrored = self.offset.mirrored;
        self.offset.mirrored = Some(position);
        Ok(())
    }

    /// Starts a new history, or one that the source comes back to, for all writers: `fences` are
    /// theirs. It begins at offset 0, or where the count of its offsets had come to.
    pub(crate) async fn begin_epoch(
        &mut self,
        epoch: &str,
        fences: &[(i32, i64)],
    ) -> Result<Offset, Error> {
        self.client().batch_execute("begin").await.map_err(broke)?;
        let (moved, offset) =
            offsets::begin_epoch(self.client(), self.key(), epoch, fences, self.counted).await?;
        if moved != fences.len() {
            self.client().batch_execute("rollback").await.map_err(broke)?;
            return self.check_fence(false).map(|()| offset);
        }
        self.client().batch_execute("commit").await.map_err(broke)?;
        let mirrors = (self.offset.mirrored, self.offset.previously_mirrored);
        self.offset = offset.clone();
        (self.offset.mirrored, self.offset.previously_mirrored) = mirrors;
        self.read_gaps().await?;
        Ok(offset)
    }

    /// Notes when the source was heard although nothing was committed.
    pub(crate) async fn touch(&mut self, heard: Instant) -> Result<(), Error> {
        let seconds = heard.elapsed().as_secs_f64();
        let changed = self
            .client()
            .execute(
                &self.statements.touch,
                &[&self.stream, &self.shard, &self.writer, &self.fence, &seconds],
            )
            .await
            .map_err(|error| Error::database("cannot write sse_stream.offsets", error))?;
        self.check_fence(changed == 1)
    }

    /// Changes this writer's row, as long as it is ours.
    async fn fenced(
        &self,
        sql: &str,
        value: Option<&(dyn tokio_postgres::types::ToSql + Sync)>,
    ) -> Result<(), Error> {
        let mut params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            vec![&self.stream, &self.shard, &self.writer, &self.fence];
        params.extend(value);
        let changed = self
            .client()
            .execute(sql, &params)
            .await
            .map_err(|error| Error::database("cannot write sse_stream.offsets", error))?;
        self.check_fence(changed == 1)
    }

    fn check_fence(&self, holds: bool) -> Result<(), Error> {
        if holds {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::OffsetConflict,
            format!(
                "stream {:?} was taken over by another run (our fence {}); nothing of this batch was kept, the other run goes on",
                self.stream, self.fence
            ),
        ))
    }

    /// Commits a batch in one transaction: first the offset row is locked, which proves that the
    /// stream is still ours, then come rows and dead letters, and the offset moves last. On an
    /// error nothing of it stands.
    ///
    /// Where a bad event fails the run, only what comes before it is committed, with the reason to
    /// end the run.
    pub(crate) async fn commit(&mut self, batch: &mut Batch) -> Result<Committed, Error> {
        loop {
            if let Some((at, why)) = self.forbidden(batch) {
                batch.cut(at, why);
            }
            if batch.is_empty() {
                return Ok(Committed { halt: batch.halt.clone(), ..Committed::default() });
            }
            if let Some(done) = self.try_commit(batch).await? {
                return Ok(done);
            }
        }
    }

    /// The first event that the policy does not let pass, and what to say about it.
    fn forbidden(&self, batch: &Batch) -> Option<(usize, String)> {
        let all = self.bad_events == BadEvents::Fail;
        batch.events.iter().enumerate().find_map(|(at, event)| match &event.fate {
            Fate::Dead(reason) if all || reason.fatal => Some((
                at,
                format!(
                    "stream {:?}: the event with id {:?} is bad ({}: {}) and the policy is to fail; nothing from it on was kept. Mend the source or the preset, or let it become a dead letter",
                    self.stream,
                    batch.source_id(event),
                    reason.code,
                    reason.text
                ),
            )),
            _ => None,
        })
    }

    /// `None` if the store found an event that the policy forbids; then nothing stands.
    async fn try_commit(&mut self, batch: &mut Batch) -> Result<Option<Committed>, Error> {
        let position = batch.position.unwrap_or(self.offset.position);
        let peak = batch.position.map_or(0, |position| position.max(batch.peak));
        let token = match &batch.resume_token {
            Some(token) => Some(token.clone()),
            None => self.offset.resume_token.clone(),
        };
        let mut filled = self.fill(batch).await;
        if let Ok(done) = &mut filled {
            done.halt = batch.halt.clone();
        }
        if filled.is_ok() && self.forbidden(batch).is_some() {
            self.client().batch_execute("rollback").await.map_err(broke)?;
            return Ok(None);
        }
        // Kept in case the answer to COMMIT is lost.
        batch.outcome = filled.as_ref().ok().cloned();
        let done = match filled {
            Ok(done) => done,
            Err(error) => return Err(self.undo(error).await),
        };
        // One after the other, but the second does not wait for the answer to the first: where that
        // is an error, there is nothing left to commit.
        let advance = self.advance(&batch.epoch, position, peak, token.as_deref());
        let commit = self.client().batch_execute("commit");
        let (advanced, committed, ()) = join3(advance, commit, self.tell(position, &done)).await;
        advanced?;
        committed.map_err(broke)?;
        self.settler.committed(&done);
        if done.gaps_changed {
            // Before we stand where the row does: should the session break here, that is how it shows
            // that the batch was committed.
            self.shared.ledger.read(self.client(), self.key(), Some(&batch.epoch)).await?;
        }
        self.offset.epoch = Some(batch.epoch.clone());
        self.offset.position = position;
        self.offset.resume_token = token;
        self.offset.high_water = self.offset.high_water.max(peak);
        self.offset.highest = self.offset.highest.max(peak);
        Ok(Some(done))
    }

    /// The row is locked, so it is there and ours.
    async fn advance(
        &self,
        epoch: &str,
        position: i64,
        peak: i64,
        token: Option<&str>,
    ) -> Result<(), Error> {
        let (stream, shard, writer) = (&self.stream, &self.shard, &self.writer);
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
            [stream, shard, writer, &self.fence, &epoch, &position, &peak, &token];
        let changed = self.client().execute(&self.statements.advance, &params).await;
        let changed = changed.map_err(|error| Error::database("cannot move the offset", error))?;
        self.check_fence(changed == 1)
    }

    async fn tell(&self, position: i64, done: &Committed) {
        self.notice.tell(self.client(), self.key(), self.fence(), position, done).await;
    }

    /// Tries every waiting event again, whose parent something else may have brought, and gives up
    /// those that have waited too long. A transaction for each page of them.
    pub(crate) async fn revisit(&mut self, max_wait: Duration) -> Result<Committed, Error> {
        let mut total = Committed::default();
        let pages = self.settler.waiting().await?;
        for page in &pages {
            self.settler.begin().await?;
            let filled = self.retry(page).await;
            total.add(self.end(filled).await?);
        }
        if !pages.is_empty() {
            self.settler.begin().await?;
            let filled = self.give_up(max_wait).await;
            total.add(self.end(filled).await?);
        }
        Ok(total)
    }

    async fn retry(&mut self, page: &Page) -> Result<Committed, Error> {
        self.hold().await?;
        self.settler.settle_page(page).await
    }

    async fn give_up(&mut self, max_wait: Duration) -> Result<Committed, Error> {
        self.hold().await?;
        self.settler.expire(max_wait).await
    }

    /// Opens a transaction and lands the batch in it, all but the offset.
    async fn fill(&mut self, batch: &mut Batch) -> Result<Committed, Error> {
        let gaps = self.shared.ledger.open();
        let mut done = match self.land_directly(batch).await? {
            Some(done) => done,
            None => {
                self.settler.begin().await?;
                self.hold().await?;
                let past = Past::UpTo(self.offset.high_water, &gaps);
                self.settler.settle(batch, past).await?
            }
        };
        if self.offset.epoch.as_ref() != Some(&batch.epoch) {
            history::note_epoch(self.client(), self.key(), &batch.epoch).await?;
        }
        let (touched, ended) = gaps.repair(self.client(), self.key(), batch).await?;
        done.gaps_repaired = ended;
        gaps::clip(batch, self.offset.high_water);
        gaps::note(self.client(), &self.settler.address(), batch).await?;
        done.gaps_changed = touched > 0 || !batch.gaps.is_empty();
        Ok(done)
    }

    /// Lands a batch without staging it, in a transaction that this opens. `None` where that is not
    /// possible: then no transaction is open.
    async fn land_directly(&mut self, batch: &mut Batch) -> Result<Option<Committed>, Error> {
        let new = batch.position.is_some() && batch.is_beyond(self.offset.highest);
        let lander = self.settler.lander();
        let bare = batch.rows.iter().all(|rows| rows.rows.is_empty());
        if !new || !lander.can_land_directly(batch) || !(bare || self.detour.is_over()) {
            return Ok(None);
        }
        self.settler.expect_waiting().await?;
        let lander = self.settler.lander();
        let (opened, held, landed) =
            join3(self.settler.open(), self.hold(), lander.land_directly(batch)).await;
        opened?;
        // Where this went wrong, rows were refused only because of it.
        held?;
        let Some(rows) = landed? else {
            self.client().batch_execute("rollback").await.map_err(broke)?;
            self.detour.lengthen();
            return Ok(None);
        };
        if !bare {
            self.detour.end();
        }
        batch.set_landed();
        self.settler.settle_rest(batch, rows).await.map(Some)
    }

    /// Locks the offset row, which proves that the stream is still ours.
    async fn hold(&self) -> Result<(), Error> {
        let held = self
            .client()
            .query(&self.statements.hold, &[&self.stream, &self.shard, &self.writer, &self.fence])
            .await
            .map_err(|error| Error::database("cannot lock the offset", error))?;
        self.check_fence(held.len() == 1)
    }

    /// Commits what stands in the transaction, or takes it back.
    async fn end(&mut self, filled: Result<Committed, Error>) -> Result<Committed, Error> {
        match filled {
            Ok(done) => {
                let commit = self.client().batch_execute("commit");
                let (committed, ()) = join(commit, self.tell(self.offset.position, &done)).await;
                committed.map_err(broke)?;
                self.settler.committed(&done);
                Ok(done)
            }
            Err(error) => Err(self.undo(error).await),
        }
    }

    /// Takes the transaction back, for this reason.
    async fn undo(&self, error: Error) -> Error {
        // Where the session is gone, the server has rolled back by itself.
        let _ = self.client().batch_execute("rollback").await;
        error
    }

    /// Closes the run's line in the history.
    pub(crate) async fn end_run(&self, report: &Report, error: Option<&Error>) {
        if let Some(id) = self.history_id {
            history::end_run(self.client(), id, report, error).await;
        }
    }
}

fn broke(error: tokio_postgres::Error) -> Error {
    Error::database("the batch's transaction broke", error)
}
