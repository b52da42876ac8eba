//! The only room that moves the offset: one session, one lock on the stream, one transaction per
//! batch with its rows, its dead letters and its offset.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio_postgres::{Client, Statement};

use crate::batch::{Batch, Fate};
use crate::catalog::Catalog;
use crate::config::{RunConfig, RunIdentity, Stop};
use crate::connect::Session;
use crate::dead_letters::{Address, BURY, bury};
use crate::error::{Error, ErrorKind};
use crate::history;
use crate::host::Host;
use crate::land::Lander;
use crate::lease::wait_for_lock;
use crate::report::Report;

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

/// What one commit decided.
#[derive(Clone, Debug, Default)]
pub(crate) struct Committed {
    pub(crate) events: u64,
    pub(crate) duplicates: u64,
    pub(crate) ignored: u64,
    pub(crate) dead_letters: u64,
    /// Reasons of dead letters, a few of each batch, for one log line.
    pub(crate) reasons: BTreeSet<String>,
    pub(crate) bytes: u64,
    pub(crate) first: Option<i64>,
    pub(crate) last: Option<i64>,
    /// Rows inserted or changed, per table.
    pub(crate) rows: HashMap<String, u64>,
}

/// The stream, held.
pub(crate) struct Store {
    session: Session,
    lander: Lander,
    catalog: Catalog,
    stream: String,
    shard: i32,
    run_id: String,
    fence: i64,
    offset: Offset,
    statements: Statements,
    history_id: Option<i64>,
}

struct Statements {
    hold: Statement,
    advance: Statement,
    touch: Statement,
    bury: Statement,
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
const NEW_EPOCH: &str = "
    update sse_stream.offsets
    set epoch = $4, position = 0, high_water = 0, updated_at = now()
    where stream = $1 and shard = $2 and writer = 0 and fence = $3";
const SEEK: &str = "
    update sse_stream.offsets
    set position = $4, previously_mirrored = mirrored, mirrored = $4, updated_at = now()
    where stream = $1 and shard = $2 and writer = 0 and fence = $3";
const MIRROR: &str = "
    update sse_stream.offsets
    set previously_mirrored = mirrored, mirrored = $4, updated_at = now()
    where stream = $1 and shard = $2 and writer = 0 and fence = $3";
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
        // The server notices a dead peer in seconds and gives its locks back; constraints that
        // were declared deferred are checked where their row can still be told.
        client
            .batch_execute(
                "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3; \
                 set timezone = 'UTC'; set client_min_messages = warning",
            )
            .await
            .map_err(|error| Error::database("cannot set up the session", error))?;
        if !wait_for_lock(client, &stream, config, stop).await? {
            return Ok(None);
        }
        let catalog = Catalog::read(client, &config.preset, |event| host.processor(event)).await?;
        let lander = Lander::prepare(client.clone(), &catalog, host).await?;
        let doing = "cannot use the books in schema sse_stream";
        let failed = |error| Error::database(doing, error);
        let statements = Statements {
            hold: client.prepare(HOLD).await.map_err(failed)?,
            advance: client.prepare(ADVANCE).await.map_err(failed)?,
            touch: client.prepare(TOUCH).await.map_err(failed)?,
            bury: client.prepare(BURY).await.map_err(failed)?,
        };
        Ok(Some(Self {
            lander,
            catalog,
            stream,
            shard: config.shard,
            run_id: config.run.run_id.clone(),
            fence: 0,
            offset: Offset::default(),
            statements,
            history_id: None,
            session,
        }))
    }

    fn client(&self) -> &Client {
        &self.session.client
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    pub(crate) fn offset(&self) -> &Offset {
        &self.offset
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

    /// Starts a new history at offset 0.
    pub(crate) async fn begin_epoch(&mut self, epoch: &str) -> Result<(), Error> {
        self.fenced(NEW_EPOCH, Some(&epoch)).await?;
        history::note_epoch(self.client(), (&self.stream, self.shard), epoch).await?;
        self.offset.epoch = Some(epoch.to_owned());
        self.offset.position = 0;
        self.offset.high_water = 0;
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
    pub(crate) async fn commit(&mut self, batch: &mut Batch) -> Result<Committed, Error> {
        let position = batch.position.unwrap_or(self.offset.position);
        let broke = |error| Error::database("the batch's transaction broke", error);
        self.client().batch_execute("begin; set constraints all immediate").await.map_err(broke)?;
        let result = self.fill(batch, position).await;
        let committed = match result {
            Ok(committed) => committed,
            Err(error) => {
                // Where the session is gone, the server has rolled back by itself.
                let _ = self.client().batch_execute("rollback").await;
                return Err(error);
            }
        };
        // Kept in case the answer to COMMIT is lost.
        batch.outcome = Some(committed.clone());
        self.client().batch_execute("commit").await.map_err(broke)?;
        self.offset.epoch = Some(batch.epoch.clone());
        self.offset.position = position;
        self.offset.high_water = self.offset.high_water.max(position);
        Ok(committed)
    }

    async fn fill(&self, batch: &mut Batch, position: i64) -> Result<Committed, Error> {
        let held = self
            .client()
            .query(&self.statements.hold, &[&self.stream, &self.shard, &self.fence])
            .await
            .map_err(|error| Error::database("cannot lock the offset", error))?;
        self.check_fence(held.len() as u64)?;
        let mut rows = vec![0; self.catalog.routes.len()];
        self.lander.land(batch, self.offset.high_water, &mut rows).await?;
        let address = Address { stream: &self.stream, shard: self.shard, run_id: &self.run_id };
        bury(self.client(), &self.statements.bury, &address, batch).await?;
        if self.offset.epoch.as_ref() != Some(&batch.epoch) {
            history::note_epoch(self.client(), (&self.stream, self.shard), &batch.epoch).await?;
        }
        history::note_gaps(self.client(), &address, batch).await?;
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
                    &self.offset.high_water,
                ],
            )
            .await
            .map_err(|error| Error::database("cannot move the offset", error))?;
        self.check_fence(changed)?;
        Ok(self.count(batch, &rows))
    }

    fn count(&self, batch: &Batch, rows: &[u64]) -> Committed {
        let mut done = Committed::default();
        for event in &batch.events {
            done.events += 1;
            done.bytes += batch.data(event).len() as u64;
            done.first = done.first.or(event.id);
            done.last = event.id.or(done.last);
            match &event.fate {
                Fate::Pending | Fate::Landed => {}
                Fate::Duplicate => done.duplicates += 1,
                Fate::Ignored => done.ignored += 1,
                Fate::Dead(reason) => {
                    done.dead_letters += 1;
                    if done.reasons.len() < 3 {
                        done.reasons.insert(format!("{}: {}", reason.code, reason.text));
                    }
                }
            }
        }
        for (route, count) in self.catalog.routes.iter().zip(rows) {
            *done.rows.entry(route.table.clone()).or_default() += count;
        }
        done
    }

    /// Closes the run's line in the history.
    pub(crate) async fn end_run(&self, report: &Report, error: Option<&Error>) {
        if let Some(id) = self.history_id {
            history::end_run(self.client(), id, report, error).await;
        }
    }
}
