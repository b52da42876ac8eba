//! The only room that moves the offset: one session, one lock on the stream, one transaction per
//! batch with its rows, its dead letters and its offset.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join3;
use tokio_postgres::{Client, Statement};

use crate::batch::{Batch, Fate};
use crate::catalog::Catalog;
use crate::config::{BadEvents, RunConfig, RunIdentity, Stop};
use crate::connect::Session;
use crate::error::{Error, ErrorKind};
use crate::gaps::{self, OpenGaps};
use crate::history;
use crate::host::Host;
use crate::land::Past;
use crate::lease::wait_for_lock;
use crate::report::Report;
use crate::settle::{Committed, Settler};
use crate::waiting::Page;

/// Where a stream stands, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) epoch: Option<String>,
    pub(crate) position: i64,
    pub(crate) high_water: i64,
    pub(crate) mirrored: Option<i64>,
    pub(crate) previously_mirrored: Option<i64>,
}

/// What a new session must know of the lost one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footing {
    fence: i64,
    position: i64,
    history_id: Option<i64>,
}

/// The stream, held.
pub(crate) struct Store {
    session: Session,
    settler: Settler,
    stream: String,
    shard: i32,
    bad_events: BadEvents,
    fence: i64,
    offset: Offset,
    gaps: OpenGaps,
    /// What the ledger will say once the present transaction is committed.
    gaps_next: Option<OpenGaps>,
    detour: Detour,
    statements: Statements,
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
    const LONGEST: u32 = 32;

    /// Whether the next batch may be tried directly; asked once per batch.
    fn is_over(&mut self) -> bool {
        let over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        over
    }

    fn lengthen(&mut self) {
        self.length = (self.length * 2).clamp(1, Self::LONGEST);
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
    select epoch, position, high_water, mirrored, previously_mirrored
    from sse_stream.offsets where stream = $1 and shard = $2 and writer = 0";
const TAKE: &str = "
    insert into sse_stream.offsets as o
        (stream, shard, writer, position, high_water, mirrored, owner, fence)
    values ($1, $2, 0, $3, 0, $4, $5, 1)
    on conflict (stream, shard, writer) do update
    set owner = excluded.owner, fence = o.fence + 1, updated_at = now()
    returning fence";
const HOLD: &str = "
    select from sse_stream.offsets
    where stream = $1 and shard = $2 and writer = 0 and fence = $3 for update";
const ADVANCE: &str = "
    update sse_stream.offsets
    set epoch = $4, position = $5::bigint, high_water = greatest($6::bigint, $5::bigint),
        last_heard_at = now(), updated_at = now()
    where stream = $1 and shard = $2 and writer = 0 and fence = $3";
const TOUCH: &str = "
    update sse_stream.offsets set last_heard_at = now()
    where stream = $1 and shard = $2 and writer = 0 and fence = $3";
// A source may come back to a history that it had left: what landed of it is known by its mark.
const NEW_EPOCH: &str = "
    with left_behind as (
        update sse_stream.epochs e set high_water = greatest(e.high_water, o.high_water)
        from sse_stream.offsets o
        where o.stream = $1 and o.shard = $2 and o.writer = 0 and o.fence = $3
          and e.stream = o.stream and e.shard = o.shard and e.epoch = o.epoch)
    update sse_stream.offsets
    set epoch = $4, position = 0, updated_at = now(), high_water = coalesce((
            select high_water from sse_stream.epochs
            where stream = $1 and shard = $2 and epoch = $4), 0)
    where stream = $1 and shard = $2 and writer = 0 and fence = $3";
const SEEK: &str = "
    update sse_stream.offsets
    set position = $4, previously_mirrored = mirrored, mirrored = $4, updated_at = now()
    where stream = $1 and shard = $2 and writer = 0 and fence = $3";
const MIRROR: &str = "
    update sse_stream.offsets
    set previously_mirrored = mirrored, mirrored = $4, updated_at = now()
    where stream = $1 and shard = $2 and writer = 0 and fence = $3";
/// The server notices a dead peer in seconds and gives its locks back; constraints that were
/// declared deferred are checked where their row can still be told.
pub(crate) const SESSION: &str = "
    set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3;
    set timezone = 'UTC'; set client_min_messages = warning";

impl Store {
    /// Connects, waits for the stream's lock and binds the routes to the real tables. The offset
    /// is not touched yet: [`Store::take`] does that, once the caller knows where to start.
    /// `None` when `stop` was set while waiting.
    pub(crate) async fn open(
        config: &RunConfig,
        host: Arc<dyn Host>,
        stop: &Stop,
    ) -> Result<Option<Self>, Error> {
        let stream = config.stream.clone().unwrap_or_else(|| config.preset.stream.name.clone());
        let session = config.database.connect().await?;
        let client = &session.client;
        client
            .batch_execute(SESSION)
            .await
            .map_err(|error| Error::database("cannot set up the session", error))?;
        if !wait_for_lock(client, &stream, config, stop).await? {
            return Ok(None);
        }
        let key = (stream.as_str(), config.shard, config.run.run_id.as_str());
        let settler = Settler::prepare(client.clone(), &config.preset, host, key).await?;
        let doing = "cannot use the books in schema sse_stream";
        let failed = |error| Error::database(doing, error);
        let statements = Statements {
            hold: client.prepare(HOLD).await.map_err(failed)?,
            advance: client.prepare(ADVANCE).await.map_err(failed)?,
            touch: client.prepare(TOUCH).await.map_err(failed)?,
        };
        Ok(Some(Self {
            settler,
            stream,
            shard: config.shard,
            bad_events: config.bad_events,
            fence: 0,
            offset: Offset::default(),
            gaps: OpenGaps::default(),
            gaps_next: None,
            detour: Detour::default(),
            statements,
            history_id: None,
            session,
        }))
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

    /// Offsets of the present epoch that the source passed over and that nobody has brought since.
    pub(crate) fn gaps(&self) -> &OpenGaps {
        &self.gaps
    }

    async fn read_gaps(&self, epoch: Option<&str>) -> Result<OpenGaps, Error> {
        OpenGaps::read(self.client(), (&self.stream, self.shard), epoch).await
    }

    /// The stored offset, `None` before the stream's first run.
    pub(crate) async fn stored(&self) -> Result<Option<Offset>, Error> {
        let row = self
            .client()
            .query_opt(READ, &[&self.stream, &self.shard])
            .await
            .map_err(|error| Error::database("cannot read sse_stream.offsets", error))?;
        Ok(row.map(|row| Offset {
            epoch: row.get(0),
            position: row.get(1),
            high_water: row.get(2),
            mirrored: row.get(3),
            previously_mirrored: row.get(4),
        }))
    }

    pub(crate) fn footing(&self) -> Footing {
        Footing { fence: self.fence, position: self.offset.position, history_id: self.history_id }
    }

    /// Goes on where a lost session of the same run stood, unless another run came in between.
    pub(crate) async fn retake(&mut self, footing: &Footing, owner: &str) -> Result<(), Error> {
        self.fence = footing.fence;
        self.history_id = footing.history_id;
        // Proves that nobody else raised the fence, before we do.
        self.touch().await?;
        self.raise_fence(owner, (0, None)).await
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

    /// Becomes the owner: raises the fence, so that no earlier owner can commit any more. `first`
    /// is the position and mirror for a stream that has no row yet.
    pub(crate) async fn take(
        &mut self,
        run: &RunIdentity,
        first: (i64, Option<i64>),
    ) -> Result<(), Error> {
        self.raise_fence(&run.owner, first).await?;
        let key = (self.stream.as_str(), self.shard);
        self.history_id = Some(history::begin_run(self.client(), key, run).await?);
        Ok(())
    }

    async fn raise_fence(&mut self, owner: &str, first: (i64, Option<i64>)) -> Result<(), Error> {
        let (position, mirrored) = first;
        let row = self
            .client()
            .query_one(TAKE, &[&self.stream, &self.shard, &position, &mirrored, &owner])
            .await
            .map_err(|error| {
                Error::database("cannot take the stream in sse_stream.offsets", error)
            })?;
        self.fence = row.get(0);
        self.offset = self.stored().await?.unwrap_or_default();
        self.gaps = self.read_gaps(self.offset.epoch.as_deref()).await?;
        Ok(())
    }

    /// Moves the position to where the mirror asks, once: the mirror's value is recorded with it.
    pub(crate) async fn seek(&mut self, position: i64) -> Result<(), Error> {
        self.fenced(SEEK, Some(&position)).await?;
        self.offset.position = position;
        self.offset.previously_mirrored = self.offset.mirrored;
        self.offset.mirrored = Some(position);
        Ok(())
    }

    /// Records that the mirror is about to show the position.
    pub(crate) async fn mirror(&mut self) -> Result<(), Error> {
        let position = self.offset.position;
        self.fenced(MIRROR, Some(&position)).await?;
        self.offset.previously_mirrored = self.offset.mirrored;
        self.offset.mirrored = Some(position);
        Ok(())
    }

    /// Starts a new history, or one that the source comes back to, at offset 0.
    pub(crate) async fn begin_epoch(&mut self, epoch: &str) -> Result<(), Error> {
        self.fenced(NEW_EPOCH, Some(&epoch)).await?;
        history::note_epoch(self.client(), (&self.stream, self.shard), epoch).await?;
        self.gaps = self.read_gaps(Some(epoch)).await?;
        self.offset = self.stored().await?.unwrap_or_default();
        Ok(())
    }

    /// Notes that the source was heard although nothing was committed.
    pub(crate) async fn touch(&mut self) -> Result<(), Error> {
        let changed = self
            .client()
            .execute(&self.statements.touch, &[&self.stream, &self.shard, &self.fence])
            .await
            .map_err(|error| Error::database("cannot write sse_stream.offsets", error))?;
        self.check_fence(changed)
    }

    async fn fenced(
        &self,
        sql: &str,
        value: Option<&(dyn tokio_postgres::types::ToSql + Sync)>,
    ) -> Result<(), Error> {
        let mut params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            vec![&self.stream, &self.shard, &self.fence];
        params.extend(value);
        let changed = self
            .client()
            .execute(sql, &params)
            .await
            .map_err(|error| Error::database("cannot write sse_stream.offsets", error))?;
        self.check_fence(changed)
    }

    fn check_fence(&self, changed: u64) -> Result<(), Error> {
        if changed == 1 {
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
        if self.bad_events != BadEvents::Fail {
            return None;
        }
        batch.events.iter().enumerate().find_map(|(at, event)| match &event.fate {
            Fate::Dead(reason) => Some((
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
        let mut filled = self.fill(batch, position).await;
        if let Ok(done) = &mut filled {
            done.halt = batch.halt.clone();
        }
        if filled.is_ok() && self.forbidden(batch).is_some() {
            self.client().batch_execute("rollback").await.map_err(broke)?;
            return Ok(None);
        }
        // Kept in case the answer to COMMIT is lost.
        batch.outcome = filled.as_ref().ok().cloned();
        let next = self.gaps_next.take();
        let done = self.end(filled).await?;
        self.gaps = next.unwrap_or_else(|| std::mem::take(&mut self.gaps));
        self.offset.epoch = Some(batch.epoch.clone());
        self.offset.position = position;
        self.offset.high_water = self.high_water_with(batch).max(position);
        Ok(Some(done))
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

    async fn fill(&mut self, batch: &mut Batch, position: i64) -> Result<Committed, Error> {
        self.gaps_next = None;
        let mut done = match self.land_directly(batch).await? {
            Some(done) => done,
            None => {
                self.settler.begin().await?;
                self.hold().await?;
                let past = Past::UpTo(self.offset.high_water, &self.gaps);
                self.settler.settle(batch, past).await?
            }
        };
        if self.offset.epoch.as_ref() != Some(&batch.epoch) {
            history::note_epoch(self.client(), (&self.stream, self.shard), &batch.epoch).await?;
        }
        let (touched, ended) = self.gaps.repair(self.client(), batch).await?;
        done.gaps_repaired = ended;
        gaps::clip(batch, self.offset.high_water);
        gaps::note(self.client(), &self.settler.address(), batch).await?;
        if touched > 0 || !batch.gaps.is_empty() {
            self.gaps_next = Some(self.read_gaps(Some(&batch.epoch)).await?);
        }
        let changed = self
            .client()
            .execute(
                &self.statements.advance,
                &[
                    &self.stream,
                    &self.shard,
                    &self.fence,
                    &batch.epoch,
                    &position,
                    &self.high_water_with(batch),
                ],
            )
            .await
            .map_err(|error| Error::database("cannot move the offset", error))?;
        self.check_fence(changed)?;
        Ok(done)
    }

    /// Lands a batch without staging it, in a transaction that this opens. `None` where that is not
    /// possible: then no transaction is open.
    async fn land_directly(&mut self, batch: &mut Batch) -> Result<Option<Committed>, Error> {
        let new = batch.position.is_some() && batch.is_beyond(self.offset.high_water);
        let lander = self.settler.lander();
        if !new || !lander.can_land_directly(batch) || !self.detour.is_over() {
            return Ok(None);
        }
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
        self.detour.end();
        batch.set_landed();
        self.settler.settle_rest(batch, rows).await.map(Some)
    }

    fn high_water_with(&self, batch: &Batch) -> i64 {
        batch.highest().unwrap_or(0).max(self.offset.high_water)
    }

    /// Locks the offset row, which proves that the stream is still ours.
    async fn hold(&self) -> Result<(), Error> {
        let held = self
            .client()
            .query(&self.statements.hold, &[&self.stream, &self.shard, &self.fence])
            .await
            .map_err(|error| Error::database("cannot lock the offset", error))?;
        self.check_fence(held.len() as u64)
    }

    /// Commits what stands in the transaction, or takes it back.
    async fn end(&mut self, filled: Result<Committed, Error>) -> Result<Committed, Error> {
        match filled {
            Ok(done) => {
                self.client().batch_execute("commit").await.map_err(broke)?;
                self.settler.committed(&done);
                Ok(done)
            }
            Err(error) => {
                // Where the session is gone, the server has rolled back by itself.
                let _ = self.client().batch_execute("rollback").await;
                Err(error)
            }
        }
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
