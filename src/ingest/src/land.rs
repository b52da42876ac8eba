//! The replay-safe path: staged COPY, comparison, insert. Works on slices of a batch inside the
//! batch's transaction; a slice that the database refuses is halved until the bad event is alone.

mod judge;
mod process;
mod stage;
mod statements;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use tokio_postgres::{Client, Statement};

use crate::batch::{Batch, Fate, Row};
use crate::catalog::{Catalog, Route};
use crate::decode::Reason;
use crate::error::Error;
use crate::host::Host;
use judge::{Verdict, refusal};
use stage::{Fill, fills_of};
use statements::RouteSql;

/// Lands batches through one session.
pub(crate) struct Lander {
    client: Arc<Client>,
    host: Arc<dyn Host>,
    routes: Vec<Prepared>,
}

/// A route with its prepared statements.
struct Prepared {
    route: Route,
    copy: Statement,
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
    /// Events were found dead: the slice must be tried again without them.
    Again,
    /// What comes before this event must land before it can be judged: it has a key that came
    /// earlier with other bytes, or lacks a parent that a processor may bring.
    SplitAt(usize),
}

/// Which rows of a slice each statement leaves out, by route.
#[derive(Default)]
struct Exclusions {
    /// Repetitions inside the slice: not even staged.
    repeated: HashSet<u32>,
    /// Already in the table with the same content.
    present: HashSet<i32>,
}

impl Lander {
    pub(crate) async fn prepare(
        client: Arc<Client>,
        catalog: &Catalog,
        host: Arc<dyn Host>,
    ) -> Result<Self, Error> {
        let mut routes = Vec::with_capacity(catalog.routes.len());
        for (index, route) in catalog.routes.iter().enumerate() {
            let fills = fills_of(index, catalog);
            let columns: Vec<(String, String)> = fills
                .iter()
                .flat_map(|fill| {
                    let route = &catalog.routes[fill.route];
                    route.columns[route.key_len..].iter()
                })
                .map(|column| (column.name.clone(), column.sql_type.clone()))
                .collect();
            let sql = RouteSql::new(index, route, &columns);
            let failed = |error| {
                Error::database(&format!("cannot prepare the route to {}", route.table), error)
            };
            client.batch_execute(&sql.create_stage).await.map_err(failed)?;
            let optional = async |text: &Option<String>| match text {
                Some(text) => client.prepare(text).await.map(Some),
                None => Ok(None),
            };
            routes.push(Prepared {
                copy: client.prepare(&sql.copy).await.map_err(failed)?,
                present: optional(&sql.present).await.map_err(failed)?,
                fill_state: optional(&sql.fill_state).await.map_err(failed)?,
                orphans: optional(&sql.orphans).await.map_err(failed)?,
                land: client.prepare(&sql.land).await.map_err(failed)?,
                land_only: client.prepare(&sql.land_only).await.map_err(failed)?,
                route: route.clone(),
                fills,
            });
        }
        Ok(Self { client, host, routes })
    }

    /// Decides the fate of every pending event of the batch. Rows changed are added to
    /// `rows_changed` by route. Events at or below `high_water` may be replays, which only
    /// key-less routes need to know.
    pub(crate) async fn land(
        &self,
        batch: &mut Batch,
        high_water: i64,
        rows_changed: &mut [u64],
    ) -> Result<(), Error> {
        let mut slices: Vec<Range<usize>> = std::iter::once(0..batch.events.len()).collect();
        let mut tried_again: HashSet<usize> = HashSet::new();
        while let Some(slice) = slices.pop() {
            if !slice.clone().any(|event| batch.events[event].fate == Fate::Pending) {
                continue;
            }
            self.run("savepoint slice").await?;
            let mut changed = vec![0; self.routes.len()];
            match self.try_slice(batch, &slice, high_water, &mut changed).await {
                Ok(Step::Done(fates)) => {
                    self.run("release savepoint slice").await?;
                    for (event, fate) in fates {
                        batch.events[event].fate = fate;
                    }
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
                    divide(batch, slice, reason, &mut tried_again, &mut slices);
                }
            }
        }
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
        high_water: i64,
        changed: &mut [u64],
    ) -> Result<Step, tokio_postgres::Error> {
        let mut out: Vec<Exclusions> = self.routes.iter().map(|_| Exclusions::default()).collect();
        if let Some(event) = self.find_repeats(batch, slice, high_water, &mut out) {
            return Ok(Step::SplitAt(event));
        }
        for (index, prepared) in self.routes.iter().enumerate() {
            self.stage(batch, slice, index, prepared, &out).await?;
        }
        match self.judge(batch, slice, &mut out).await? {
            Verdict::SplitAt(event) => return Ok(Step::SplitAt(event)),
            Verdict::Dead(dead) if dead.is_empty() => {}
            Verdict::Dead(dead) => {
                for (event, reason) in dead {
                    batch.events[event].fate = Fate::Dead(reason);
                }
                return Ok(Step::Again);
            }
        }
        self.spare_replays(batch, slice, &mut out);
        let by_processor: Vec<usize> = slice
            .clone()
            .filter(|event| {
                let event = &batch.events[*event];
                event.fate == Fate::Pending && self.host.processor(batch.event_type(event))
            })
            .collect();
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
            except.extend(by_processor.iter().map(|event| *event as i32));
            changed[index] += self.client.execute(&prepared.land, &[&except]).await?;
        }
        let mut fates = Vec::with_capacity(slice.len());
        for event in slice.clone().filter(|event| batch.events[*event].fate == Fate::Pending) {
            let fate = if by_processor.binary_search(&event).is_ok() {
                self.process(batch, event, high_water, &out, changed).await?
            } else if landed.contains(&event) {
                Fate::Landed
            } else {
                Fate::Duplicate
            };
            fates.push((event, fate));
        }
        Ok(Step::Done(fates))
    }
}

/// After the database refused a slice: halves it, or buries the event that stands alone. A lone
/// unique violation is tried once more: it may have come from another session's row, committed
/// after we looked, with which the event must now be compared.
fn divide(
    batch: &mut Batch,
    slice: Range<usize>,
    reason: Reason,
    tried_again: &mut HashSet<usize>,
    slices: &mut Vec<Range<usize>>,
) {
    let pending: Vec<usize> =
        slice.clone().filter(|event| batch.events[*event].fate == Fate::Pending).collect();
    match pending[..] {
        [] => {}
        [event] if reason.code == "conflict" && tried_again.insert(event) => slices.push(slice),
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
                && !out.repeated.contains(&row.event)
        })
        .copied()
        .collect()
}
