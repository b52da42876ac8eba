//! How rows reach their tables. The replay-safe path: staged COPY, comparison, insert; it works on
//! slices of a batch inside the batch's transaction, and a slice that the database refuses is halved
//! until the bad event is alone. Beside it the direct path, for what is provably new.

mod direct;
mod judge;
mod process;
mod stage;
pub(crate) mod statements;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use futures_util::future::try_join;
use tokio_postgres::{Client, Statement};

use crate::batch::{Batch, Event, Fate, Missing, Row};
use crate::catalog::{Catalog, Route};
use crate::connect::{Copier, Session};
use crate::decode::Reason;
use crate::error::Error;
use crate::gaps::OpenGaps;
use crate::host::Host;
use direct::Straight;
use judge::{Aside, Judgement, refusal};
use stage::{Fill, filled_columns, fills_of};
use statements::{RouteSql, stage_table};

const MAY_STAGE: &str = "select has_database_privilege(current_database(), 'temporary')";

/// Lands batches through one session.
pub(crate) struct Lander {
    client: Arc<Client>,
    copier: Copier,
    host: Arc<dyn Host>,
    catalog: Arc<Catalog>,
    direct: Vec<Straight>,
    /// Empty until something is staged for the first time; many runs never do.
    routes: Vec<Prepared>,
    /// Routes whose staging table holds rows of an earlier slice of this transaction.
    staged: BTreeSet<usize>,
}

/// A route with its prepared statements.
struct Prepared {
    route: Route,
    copy: Statement,
    misfits: Option<Statement>,
    present: Option<Statement>,
    fill_state: Option<Statement>,
    orphans: Option<Statement>,
    land: Statement,
    land_only: Statement,
    /// Update routes on the same table whose values may travel with this insert, and how many
    /// columns each fills.
    fills: Vec<Fill>,
}

/// What became of a slice.
enum Step {
    /// The slice stands, with these fates.
    Done(Vec<(usize, Fate)>),
    /// Events were found dead or waiting: the slice must be tried again without them.
    Again,
    /// What comes before this event must land before it can be judged: it lacks a parent that a
    /// processor may bring.
    SplitAt(usize),
}

/// Which rows of a slice each statement leaves out, by route.
#[derive(Default)]
struct Exclusions {
    /// For key-less routes: events that may have landed before.
    old: HashSet<u32>,
    /// Repetitions inside the slice, with the event whose row stands for theirs. Not even staged.
    repeated: BTreeMap<u32, u32>,
    /// Rows whose key came earlier in the slice with other bytes: only the database can tell what
    /// they are, once the earlier row is there.
    rivals: HashSet<u32>,
    /// Already in the table with the same content.
    present: HashSet<i32>,
    /// Dead, waiting or put off.
    aside: HashSet<u32>,
}

/// What earlier attempts at the slices of a batch found out.
#[derive(Default)]
struct Findings {
    /// Events whose rows wait, but for those for `*`.
    waiting: HashMap<usize, Missing>,
    /// Events that are decided after the others of their slice.
    put_off: HashSet<usize>,
    /// Lone events that met a unique violation once.
    tried_again: HashSet<usize>,
}

/// Which events may have landed before; only key-less routes need to know.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Past<'a> {
    /// Those at or below this offset and in no open gap, those without an offset, and those whose
    /// offset came earlier in the batch.
    UpTo(i64, &'a OpenGaps),
    /// All: the caller knows that they have landed once.
    Everything,
    /// None: the caller knows that these events are new.
    Nothing,
}

/// Which events of a batch key-less routes must not take.
struct Known<'a> {
    past: Past<'a>,
    /// Events whose offset came earlier in the same batch.
    again: HashSet<usize>,
}

impl<'a> Known<'a> {
    fn of(batch: &Batch, past: Past<'a>) -> Self {
        let mut again = HashSet::new();
        let goes_back = |event: &Event| event.id.is_some() && event.id <= event.peak;
        if matches!(past, Past::UpTo(..)) && batch.events.iter().any(goes_back) {
            let mut seen = HashSet::new();
            let pending = |fate: &Fate| *fate == Fate::Pending;
            for (at, event) in batch.events.iter().enumerate().filter(|(_, e)| pending(&e.fate)) {
                if event.id.is_some_and(|id| !seen.insert(id)) {
                    again.insert(at);
                }
            }
        }
        Self { past, again }
    }

    fn has(&self, batch: &Batch, event: usize) -> bool {
        let id = batch.events[event].id;
        match self.past {
            Past::UpTo(high_water, open) => {
                self.again.contains(&event)
                    || id.is_none_or(|id| id <= high_water && !open.contains(id))
            }
            Past::Everything => true,
            Past::Nothing => false,
        }
    }
}

impl Lander {
    pub(crate) async fn prepare(
        session: &Session,
        catalog: Arc<Catalog>,
        host: Arc<dyn Host>,
    ) -> Result<Self, Error> {
        let (client, copier) = (session.client.clone(), session.copier.clone());
        let failed = |error| Error::database("cannot ask for the rights of this login", error);
        let may_stage = async { client.query_typed_one(MAY_STAGE, &[]).await.map_err(failed) };
        let (row, direct) = try_join(may_stage, direct::prepare(&client, &catalog)).await?;
        if !row.get::<_, bool>(0) {
            return Err(Error::schema(
                "this login may not create temporary tables, in which rows are compared; grant temporary on the database to it",
            ));
        }
        let (routes, staged) = (Vec::new(), BTreeSet::new());
        Ok(Self { client, copier, host, catalog, direct, routes, staged })
    }

    /// Gets ready for [`Lander::land`] in the next transaction.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        self.staged.clear();
        if self.routes.is_empty() {
            self.routes = prepare_staging(&self.client, &self.catalog).await?;
        }
        Ok(())
    }

    /// Whether [`Lander::begin`] was called for the present transaction or an earlier one.
    pub(crate) fn is_ready(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Decides the fate of every pending event of the batch. Rows changed are added to
    /// `rows_changed` by route.
    pub(crate) async fn land(
        &mut self,
        batch: &mut Batch,
        past: Past<'_>,
        rows_changed: &mut [u64],
    ) -> Result<(), Error> {
        let mut slices: Vec<Range<usize>> = std::iter::once(0..batch.events.len()).collect();
        let known = Known::of(batch, past);
        let mut findings = Findings::default();
        while let Some(slice) = slices.pop() {
            if !slice.clone().any(|event| batch.events[event].fate == Fate::Pending) {
                continue;
            }
            self.unstage().await?;
            self.run("savepoint slice").await?;
            let mut changed = vec![0; self.routes.len()];
            match self.try_slice(batch, &slice, &known, &mut findings, &mut changed).await {
                Ok(Step::Done(fates)) => {
                    self.run("release savepoint slice").await?;
                    let used = |index: &usize| !batch.rows[*index].within(&slice).is_empty();
                    self.staged.extend((0..self.routes.len()).filter(used));
                    for (event, fate) in fates {
                        batch.events[event].fate = fate;
                    }
                    findings.put_off.clear();
                    // Those that were put off.
                    slices.push(slice);
                    for (total, more) in rows_changed.iter_mut().zip(changed) {
                        *total += more;
                    }
                }
                Ok(Step::Again) => {
                    self.undo().await?;
                    slices.push(slice);
                }
                Ok(Step::SplitAt(event)) => {
                    self.undo().await?;
                    slices.push(event..slice.end);
                    slices.push(slice.start..event);
                }
                Err(error) => {
                    let Some(reason) = refusal(&error) else {
                        return Err(Error::database("cannot land the batch", error));
                    };
                    self.undo().await?;
                    findings.put_off.clear();
                    divide(batch, slice, reason, &mut findings, &mut slices);
                }
            }
        }
        Ok(())
    }

    /// Empties staging tables that an earlier slice of this transaction has filled. A slice that
    /// was undone has emptied its own.
    async fn unstage(&mut self) -> Result<(), Error> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let tables: Vec<String> = self.staged.iter().map(|index| stage_table(*index)).collect();
        self.run(&format!("truncate {}", tables.join(", "))).await?;
        self.staged.clear();
        Ok(())
    }

    async fn run(&self, sql: &str) -> Result<(), Error> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| Error::database("the batch's transaction broke", error))
    }

    async fn undo(&self) -> Result<(), Error> {
        self.run("rollback to savepoint slice; release savepoint slice").await
    }

    async fn try_slice(
        &self,
        batch: &mut Batch,
        slice: &Range<usize>,
        known: &Known<'_>,
        findings: &mut Findings,
        changed: &mut [u64],
    ) -> Result<Step, tokio_postgres::Error> {
        let mut out: Vec<Exclusions> = self.routes.iter().map(|_| Exclusions::default()).collect();
        for event in slice.clone() {
            if findings.put_off.contains(&event) {
                self.exclude(event, true, &mut out);
            } else if findings.waiting.contains_key(&event) {
                self.exclude(event, false, &mut out);
            }
        }
        self.find_repeats(batch, slice, known, &mut out);
        for (index, prepared) in self.routes.iter().enumerate() {
            self.stage(batch, slice, index, prepared, &out).await?;
        }
        let aside = match self.judge(batch, slice, &mut out).await? {
            Judgement::SplitAt(event) => return Ok(Step::SplitAt(event)),
            Judgement::Aside(aside) => aside,
        };
        if self.must_stage_again(batch, &aside, &out) {
            for (event, verdict) in aside {
                match verdict.fate {
                    Fate::Waiting(missing) => drop(findings.waiting.insert(event, missing)),
                    Fate::Pending => drop(findings.put_off.insert(event)),
                    fate => batch.events[event].fate = fate,
                }
            }
            return Ok(Step::Again);
        }
        for (event, verdict) in &aside {
            self.exclude(*event, !matches!(verdict.fate, Fate::Waiting(_)), &mut out);
        }
        self.spare_replays(batch, slice, &mut out);
        let by_processor: Vec<usize> = slice
            .clone()
            .filter(|event| !aside.contains_key(event) && !findings.put_off.contains(event))
            .filter(|event| {
                let event = &batch.events[*event];
                event.fate == Fate::Pending && self.host.processor(batch.event_type(event))
            })
            .collect();
        let landed = self.insert(batch, slice, &out, &by_processor, changed).await?;
        let mut fates = Vec::with_capacity(slice.len());
        for event in slice.clone().filter(|event| batch.events[*event].fate == Fate::Pending) {
            let waiting = findings.waiting.get(&event).cloned().map(Fate::Waiting);
            let fate = match aside.get(&event).map(|verdict| verdict.fate.clone()).or(waiting) {
                Some(fate) => fate,
                None if findings.put_off.contains(&event) => Fate::Pending,
                None if by_processor.binary_search(&event).is_ok() => {
                    self.process(batch, event, known, &out, changed).await?
                }
                None if landed.contains(&event) => Fate::Landed,
                None => Fate::Duplicate,
            };
            fates.push((event, fate));
        }
        Ok(Step::Done(fates))
    }

    /// Moves what is staged and new into the tables, but for events with a processor. Returns the
    /// events that brought something.
    async fn insert(
        &self,
        batch: &Batch,
        slice: &Range<usize>,
        out: &[Exclusions],
        by_processor: &[usize],
        changed: &mut [u64],
    ) -> Result<HashSet<usize>, tokio_postgres::Error> {
        let mut landed: HashSet<usize> = HashSet::new();
        for (index, prepared) in self.routes.iter().enumerate() {
            let rows = pending_rows(batch, slice, index, &out[index]);
            let fresh = rows.iter().filter(|row| !out[index].present.contains(&(row.event as i32)));
            let fresh: Vec<usize> = fresh
                .map(|row| row.event as usize)
                .filter(|event| by_processor.binary_search(event).is_err())
                .collect();
            if fresh.is_empty() {
                continue;
            }
            landed.extend(&fresh);
            let mut except: Vec<i32> = out[index].present.iter().copied().collect();
            except.extend(out[index].aside.iter().map(|event| *event as i32));
            except.extend(by_processor.iter().map(|event| *event as i32));
            changed[index] += self.client.execute(&prepared.land, &[&except]).await?;
        }
        Ok(landed)
    }

    /// Leaves an event out of all routes, or of those that do not take every event.
    fn exclude(&self, event: usize, of_all: bool, out: &mut [Exclusions]) {
        for (prepared, out) in self.routes.iter().zip(out) {
            if of_all || !prepared.route.is_for_all() {
                out.aside.insert(event as u32);
            }
        }
    }

    /// Whether what was staged cannot be used without these events: one of them completes the row
    /// of another event, or stands for another event's row.
    fn must_stage_again(&self, batch: &Batch, aside: &Aside, out: &[Exclusions]) -> bool {
        let completes = |event: &usize| {
            let mut fills = self.routes.iter().flat_map(|prepared| &prepared.fills);
            fills.any(|fill| {
                batch.rows[fill.route].of(*event).is_some()
                    && !out[fill.route].rivals.contains(&(*event as u32))
            })
        };
        let stands_for_another = || {
            let mut pairs = out.iter().flat_map(|out| &out.repeated);
            pairs.any(|(event, first)| {
                aside.contains_key(&(*first as usize)) && !aside.contains_key(&(*event as usize))
            })
        };
        !aside.is_empty() && (aside.keys().any(completes) || stands_for_another())
    }
}

/// Makes the staging tables and prepares what is asked about them.
async fn prepare_staging(client: &Client, catalog: &Catalog) -> Result<Vec<Prepared>, Error> {
    let mut routes = Vec::with_capacity(catalog.routes.len());
    for (index, route) in catalog.routes.iter().enumerate() {
        let fills = fills_of(index, catalog);
        let sql = RouteSql::new(index, route, &filled_columns(&fills, catalog));
        let failed =
            |error| Error::database(&format!("cannot prepare the route to {}", route.table), error);
        client.batch_execute(&sql.create_stage).await.map_err(failed)?;
        let optional = async |text: &Option<String>| match text {
            Some(text) => client.prepare(text).await.map(Some),
            None => Ok(None),
        };
        routes.push(Prepared {
            copy: client.prepare(&sql.copy).await.map_err(failed)?,
            misfits: optional(&sql.misfits).await.map_err(failed)?,
            present: optional(&sql.present).await.map_err(failed)?,
            fill_state: optional(&sql.fill_state).await.map_err(failed)?,
            orphans: optional(&sql.orphans).await.map_err(failed)?,
            land: client.prepare(&sql.land).await.map_err(failed)?,
            land_only: client.prepare(&sql.land_only).await.map_err(failed)?,
            route: route.clone(),
            fills,
        });
    }
    Ok(routes)
}

/// After the database refused a slice: halves it, or buries the event that stands alone. A lone
/// unique violation is tried once more: it may have come from another session's row, committed
/// after we looked, with which the event must now be compared.
fn divide(
    batch: &mut Batch,
    slice: Range<usize>,
    reason: Reason,
    findings: &mut Findings,
    slices: &mut Vec<Range<usize>>,
) {
    let pending: Vec<usize> =
        slice.clone().filter(|event| batch.events[*event].fate == Fate::Pending).collect();
    match pending[..] {
        [] => {}
        [event] if reason.code == "conflict" && findings.tried_again.insert(event) => {
            slices.push(slice)
        }
        [event] => batch.events[event].fate = Fate::Dead(reason),
        _ => {
            let middle = pending[pending.len() / 2];
            slices.push(middle..slice.end);
            slices.push(slice.start..middle);
        }
    }
}

/// The rows of a slice that are still in play for a route.
fn pending_rows(batch: &Batch, slice: &Range<usize>, index: usize, out: &Exclusions) -> Vec<Row> {
    batch.rows[index]
        .within(slice)
        .iter()
        .filter(|row| {
            batch.events[row.event as usize].fate == Fate::Pending
                && !out.old.contains(&row.event)
                && !out.repeated.contains_key(&row.event)
                && !out.aside.contains(&row.event)
        })
        .copied()
        .collect()
}
