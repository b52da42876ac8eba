//! What becomes of a batch, decided and written down inside the present transaction: rows, dead
//! letters, waiting children, and the children that waited for what this batch brings.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::TryFutureExt;
use futures_util::future::try_join4;
use tokio_postgres::{Client, Statement};

use crate::batch::{Batch, Fate};
use crate::catalog::Catalog;
use crate::connect::Session;
use crate::dead_letters::{Address, BURY, bury};
use crate::decode::{Decoder, Incoming, Reason};
use crate::error::Error;
use crate::host::Host;
use crate::land::{Lander, Past};
use crate::preset::{Mode, Preset};
use crate::report::DriftCounts;
use crate::waiting::{self, Keys, Page, Waiter, WaitingRoom};

/// What one commit decided.
#[derive(Clone, Debug, Default)]
pub(crate) struct Committed {
    pub(crate) events: u64,
    pub(crate) duplicates: u64,
    pub(crate) ignored: u64,
    pub(crate) dead_letters: u64,
    /// Events that began to wait for a parent.
    pub(crate) waiting: u64,
    /// Events that had waited and landed.
    pub(crate) resumed: u64,
    /// By how much the number of waiting events changed.
    pub(crate) waiting_change: i64,
    /// Gaps whose last missing offset this brought.
    pub(crate) gaps_repaired: u64,
    /// Whether the ledger of gaps says something else now.
    pub(crate) gaps_changed: bool,
    /// Why the run must end although this commit stands.
    pub(crate) halt: Option<String>,
    /// Reasons of dead letters, a few of each batch, for one log line.
    pub(crate) reasons: BTreeSet<String>,
    pub(crate) bytes: u64,
    pub(crate) first: Option<i64>,
    pub(crate) last: Option<i64>,
    /// Rows inserted or changed, per table.
    pub(crate) rows: HashMap<String, u64>,
    /// Events that were not as a route expects them, per table.
    pub(crate) drift: HashMap<String, DriftCounts>,
}

/// Settles batches through one session. The caller commits the transactions.
pub(crate) struct Settler {
    client: Arc<Client>,
    lander: Lander,
    catalog: Arc<Catalog>,
    host: Arc<dyn Host>,
    /// Leaves out the routes for `*`, whose rows stand when an event waits.
    late: Decoder,
    /// Tables whose rows others wait for.
    parents: HashSet<String>,
    stream: String,
    shard: i32,
    run_id: String,
    bury: Statement,
    room: WaitingRoom,
    /// How many events wait, as far as this run knows: other sessions may have changed it since.
    waiting: Arc<AtomicI64>,
}

impl Settler {
    /// Prepares what is said to the database for this stream.
    pub(crate) async fn prepare(
        session: &Session,
        catalog: Arc<Catalog>,
        host: Arc<dyn Host>,
        (stream, shard, run_id): (&str, i32, &str),
        waiting: Arc<AtomicI64>,
    ) -> Result<Self, Error> {
        let client = session.client.clone();
        let failed = |error| Error::database("cannot use the books in schema sse_stream", error);
        let (lander, bury, room, count) = try_join4(
            Lander::prepare(session, catalog.clone(), host.clone()),
            client.prepare(BURY).map_err(failed),
            WaitingRoom::prepare(&client),
            waiting::count(&client, stream, shard),
        )
        .await?;
        waiting.fetch_max(count, Ordering::SeqCst);
        let updated = catalog.routes.iter().filter(|route| route.mode == Mode::Update);
        let updated = updated.map(|route| &route.table);
        let referenced = catalog.routes.iter().filter_map(|route| route.parent.as_ref());
        let parents = referenced.map(|parent| &parent.table).chain(updated).cloned().collect();
        Ok(Self {
            bury,
            room,
            waiting,
            late: Decoder::late(&catalog),
            lander,
            catalog,
            host,
            parents,
            stream: stream.to_owned(),
            shard,
            run_id: run_id.to_owned(),
            client,
        })
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(crate) fn lander(&self) -> &Lander {
        &self.lander
    }

    pub(crate) fn address(&self) -> Address<'_> {
        Address { stream: &self.stream, shard: self.shard, run_id: &self.run_id }
    }

    /// Opens a transaction.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        self.lander.begin().await?;
        self.open().await
    }

    /// Gets ready to land waiting events in the next transaction, if there are any.
    pub(crate) async fn expect_waiting(&mut self) -> Result<(), Error> {
        if self.waiting.load(Ordering::SeqCst) > 0 { self.lander.begin().await } else { Ok(()) }
    }

    /// Opens a transaction in which the batch is not staged.
    pub(crate) async fn open(&self) -> Result<(), Error> {
        self.client
            .batch_execute("begin; set constraints all immediate")
            .await
            .map_err(|error| Error::database("cannot begin a transaction", error))
    }

    /// Lands what can land of the batch, files its dead letters, parks its waiting events, and
    /// lands what waited for it.
    pub(crate) async fn settle(
        &mut self,
        batch: &mut Batch,
        past: Past<'_>,
    ) -> Result<Committed, Error> {
        let mut rows = vec![0; self.catalog.routes.len()];
        self.lander.land(batch, past, &mut rows).await?;
        self.settle_rest(batch, rows).await
    }

    /// Files, parks and lands what belongs to a batch whose own rows are in their tables: `rows`
    /// of them, by route.
    pub(crate) async fn settle_rest(
        &mut self,
        batch: &mut Batch,
        mut rows: Vec<u64>,
    ) -> Result<Committed, Error> {
        bury(&self.client, &self.bury, &self.address(), batch, false).await?;
        self.room.park(&self.client, &self.address(), batch).await?;
        let mut done = Committed::default();
        done.count(batch);
        done.count_drift(&self.catalog, batch);
        done.waiting_change = done.waiting as i64;
        let anyone_waits = self.waiting.load(Ordering::SeqCst) + done.waiting_change > 0;
        // Not ready means that nobody waited when the transaction began: what has been parked since
        // is another writer's and waits for that one.
        if anyone_waits && self.lander.is_ready() {
            let due = self.due(self.brought(batch)).await?;
            self.land_waiting(due, &mut rows, &mut done).await?;
        }
        done.count_rows(&self.catalog, &rows);
        Ok(done)
    }

    /// All waiting events, in pages for [`Settler::settle_page`]; also those that other sessions
    /// parked.
    pub(crate) async fn waiting(&mut self) -> Result<Vec<Page>, Error> {
        let pages = waiting::all(&self.client, &self.address()).await?;
        // Never less: other writers may have committed since, and say so themselves.
        let count = pages.iter().map(|page| page.len() as i64).sum();
        self.waiting.fetch_max(count, Ordering::SeqCst);
        Ok(pages)
    }

    /// Turns events that have waited too long into dead letters.
    pub(crate) async fn expire(&mut self, max_wait: Duration) -> Result<Committed, Error> {
        let address = self.address();
        let dead = waiting::expire(&self.client, &address, max_wait.as_secs_f64()).await?;
        let mut done = Committed { dead_letters: dead, ..Committed::default() };
        done.waiting_change = -(dead as i64);
        if dead > 0 {
            let hours = max_wait.as_secs_f64() / 3600.0;
            let text = format!("missing_parent: the parent did not come within {hours:.1} hours");
            done.reasons.insert(text);
        }
        Ok(done)
    }

    /// Tries the waiting events of a page again, and those that wait for them.
    pub(crate) async fn settle_page(&mut self, page: &Page) -> Result<Committed, Error> {
        let mut rows = vec![0; self.catalog.routes.len()];
        let mut done = Committed::default();
        self.land_waiting(vec![page.clone()], &mut rows, &mut done).await?;
        done.count_rows(&self.catalog, &rows);
        Ok(done)
    }

    /// The transaction of what was settled stands.
    pub(crate) fn committed(&mut self, done: &Committed) {
        self.waiting.fetch_add(done.waiting_change, Ordering::SeqCst);
    }

    /// Looks anew how many events wait: other sessions change it.
    pub(crate) async fn recount(&mut self) -> Result<(), Error> {
        let count = waiting::count(&self.client, &self.stream, self.shard).await?;
        self.waiting.store(count, Ordering::SeqCst);
        Ok(())
    }

    async fn due(&self, brought: Keys) -> Result<Vec<Page>, Error> {
        if brought.is_empty() {
            return Ok(Vec::new());
        }
        self.room.due(&self.client, &self.address(), &brought).await
    }

    /// Lands waiting events, then those that waited for them, and so on.
    async fn land_waiting(
        &mut self,
        mut pages: Vec<Page>,
        rows: &mut [u64],
        done: &mut Committed,
    ) -> Result<(), Error> {
        while !pages.is_empty() {
            let mut brought = Keys::new();
            for page in &pages {
                brought.extend(self.land_page(page, rows, done).await?);
            }
            pages = self.due(brought).await?;
        }
        Ok(())
    }

    /// Lands the waiting events of one page; returns the keys that they bring.
    async fn land_page(
        &mut self,
        page: &Page,
        rows: &mut [u64],
        done: &mut Committed,
    ) -> Result<Keys, Error> {
        let waiters = waiting::take(&self.client, page).await?;
        let mut brought = Keys::new();
        for waiters in waiters.chunk_by(|a, b| a.epoch == b.epoch) {
            let mut batch = self.decode_late(waiters);
            self.lander.land(&mut batch, Past::Nothing, rows).await?;
            bury(&self.client, &self.bury, &self.address(), &batch, true).await?;
            let ids: Vec<i64> = waiters.iter().map(|waiter| waiter.waiting_id).collect();
            let left = waiting::leave(&self.client, &ids, &batch).await?;
            done.waiting_change -= left as i64;
            let dead_before = done.dead_letters;
            done.count_dead(&batch);
            done.resumed += left - (done.dead_letters - dead_before);
            brought.extend(self.brought(&batch));
        }
        Ok(brought)
    }

    fn decode_late(&mut self, waiters: &[Waiter]) -> Batch {
        let mut batch = Batch::new(self.catalog.routes.len());
        for waiter in waiters {
            waiter.epoch.clone_into(&mut batch.epoch);
            let incoming = Incoming {
                id: waiter.offset,
                sse_id: &waiter.source_id,
                event_type: &waiter.event_type,
                data: std::str::from_utf8(&waiter.raw).unwrap_or_default(),
                epoch: &waiter.epoch,
                received_at: waiter.first_seen_at,
            };
            let known =
                self.catalog.knows(&waiter.event_type) || self.host.processor(&waiter.event_type);
            let fate = if known {
                match self.late.decode(&incoming, batch.events.len(), &mut batch.rows) {
                    Ok(()) => Fate::Pending,
                    Err(reason) => Fate::Dead(reason),
                }
            } else {
                let text = "the preset has no route for this type any more; the event waited";
                Fate::Dead(Reason::new("unknown_type", text))
            };
            let id = waiter.source_id.as_bytes();
            batch.push(Some(waiter.offset), id, &waiter.event_type, &waiter.raw, fate);
        }
        batch
    }

    /// Keys of rows that others may wait for.
    fn brought(&self, batch: &Batch) -> Keys {
        let mut keys = Keys::new();
        for (route, rows) in self.catalog.routes.iter().zip(&batch.rows) {
            let brings = matches!(route.mode, Mode::Insert | Mode::Upsert);
            if brings && self.parents.contains(&route.table) {
                let landed = rows
                    .rows
                    .iter()
                    .filter(|row| batch.events[row.event as usize].fate == Fate::Landed);
                keys.extend(landed.map(|row| (route.table.clone(), rows.key(row).to_vec())));
            }
        }
        keys
    }
}

/// Binds the preset's routes to the real tables.
pub(crate) async fn read_catalog(
    client: &Client,
    preset: &Preset,
    host: &dyn Host,
) -> Result<Catalog, Error> {
    Catalog::read(client, preset, |event| host.processor(event)).await
}

impl Committed {
    pub(crate) fn add(&mut self, other: Self) {
        self.dead_letters += other.dead_letters;
        self.resumed += other.resumed;
        self.reasons.extend(other.reasons);
        for (table, rows) in other.rows {
            *self.rows.entry(table).or_default() += rows;
        }
    }

    fn count(&mut self, batch: &Batch) {
        for event in &batch.events {
            self.events += 1;
            self.bytes += batch.data(event).len() as u64;
            self.first = self.first.or(event.id);
            self.last = event.id.or(self.last);
            match &event.fate {
                Fate::Pending | Fate::Landed | Fate::Dead(_) => {}
                Fate::Duplicate => self.duplicates += 1,
                Fate::Ignored => self.ignored += 1,
                Fate::Waiting(_) => self.waiting += 1,
            }
        }
        self.count_dead(batch);
    }

    /// What was seen again in a replay was counted before.
    fn count_drift(&mut self, catalog: &Catalog, batch: &Batch) {
        for (route, rows) in catalog.routes.iter().zip(&batch.rows) {
            for (event, kind) in rows.drift() {
                if batch.events[*event as usize].fate != Fate::Duplicate {
                    self.drift.entry(route.table.clone()).or_default().count(*kind);
                }
            }
        }
    }

    fn count_dead(&mut self, batch: &Batch) {
        for event in &batch.events {
            let Fate::Dead(reason) = &event.fate else { continue };
            self.dead_letters += 1;
            if self.reasons.len() < 3 {
                self.reasons.insert(format!("{}: {}", reason.code, reason.text));
            }
        }
    }

    fn count_rows(&mut self, catalog: &Catalog, rows: &[u64]) {
        for (route, count) in catalog.routes.iter().zip(rows) {
            *self.rows.entry(route.table.clone()).or_default() += count;
        }
    }
}
