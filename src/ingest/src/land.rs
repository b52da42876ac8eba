//! The replay-safe path: staged COPY, comparison, insert. Works on slices of a batch inside the
//! batch's transaction; a slice that the database refuses is halved until the bad event is alone.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::{Client, Statement};

use crate::batch::{Batch, Fate, Row};
use crate::catalog::{Catalog, Route};
use crate::cursor::Cursor;
use crate::decode::Reason;
use crate::error::Error;
use crate::host::{Host, ProcessorEvent};
use crate::preset::Mode;
use crate::statements::RouteSql;

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

struct Fill {
    route: usize,
    columns: usize,
}

/// What became of a slice.
enum Step {
    /// The slice stands, with these fates.
    Done(Vec<(usize, Fate)>),
    /// Events were found dead: the slice must be tried again without them.
    Again,
    /// The same key stands twice with different bytes: the database must see the first before it
    /// judges the second, which is this event.
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
        let dead = self.judge(batch, slice, &mut out).await?;
        if !dead.is_empty() {
            for (event, reason) in dead {
                batch.events[event].fate = Fate::Dead(reason);
            }
            return Ok(Step::Again);
        }
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

    /// Marks rows whose key came earlier in the slice with the same bytes, and rows that key-less
    /// routes must not take twice. Returns the first event whose key came with other bytes.
    fn find_repeats(
        &self,
        batch: &Batch,
        slice: &Range<usize>,
        high_water: i64,
        out: &mut [Exclusions],
    ) -> Option<usize> {
        let mut split: Option<usize> = None;
        for (index, prepared) in self.routes.iter().enumerate() {
            let rows = &batch.rows[index];
            let mut seen: HashMap<&[u8], &Row> = HashMap::new();
            for row in rows.within(slice) {
                let event = &batch.events[row.event as usize];
                if event.fate != Fate::Pending {
                    continue;
                }
                if prepared.route.mode == Mode::Append {
                    if event.id.is_none_or(|id| id <= high_water) {
                        out[index].repeated.insert(row.event);
                    }
                    continue;
                }
                let Some(earlier) = seen.insert(rows.key(row), row) else { continue };
                match prepared.route.mode {
                    Mode::Upsert => {
                        out[index].repeated.insert(earlier.event);
                    }
                    _ if rows.fields(earlier) == rows.fields(row) => {
                        out[index].repeated.insert(row.event);
                    }
                    _ => {
                        let at = row.event as usize;
                        split = Some(split.map_or(at, |known| known.min(at)));
                        break;
                    }
                }
            }
        }
        split
    }

    /// Copies the slice's rows of one route into its staging table.
    async fn stage(
        &self,
        batch: &Batch,
        slice: &Range<usize>,
        index: usize,
        prepared: &Prepared,
        out: &[Exclusions],
    ) -> Result<(), tokio_postgres::Error> {
        let rows = pending_rows(batch, slice, index, &out[index]);
        if rows.is_empty() {
            return Ok(());
        }
        let fills = self.fills_by_key(batch, slice, prepared, out);
        let sink = self.client.copy_in::<_, Bytes>(&prepared.copy).await?;
        futures_util::pin_mut!(sink);
        let filled: usize = prepared.fills.iter().map(|fill| fill.columns).sum();
        let field_count = (1 + prepared.route.columns.len() + filled) as i16;
        let mut buffer = BytesMut::with_capacity(COPY_CHUNK);
        buffer.put_slice(COPY_HEADER);
        for row in rows {
            let fields = batch.rows[index].fields(&row);
            buffer.put_i16(field_count);
            buffer.put_i32(4);
            buffer.put_u32(row.event);
            buffer.put_slice(fields);
            for (fill, values) in prepared.fills.iter().zip(&fills) {
                match values.get(batch.rows[index].key(&row)) {
                    Some(fields) => buffer.put_slice(fields),
                    None => (0..fill.columns).for_each(|_| buffer.put_i32(-1)),
                }
            }
            if buffer.len() >= COPY_CHUNK - (16 << 10) {
                sink.send(buffer.split().freeze()).await?;
                buffer.reserve(COPY_CHUNK);
            }
        }
        buffer.put_i16(-1);
        sink.send(buffer.freeze()).await?;
        sink.finish().await?;
        Ok(())
    }

    /// For each update route that may travel with `prepared`: key to the fields it fills.
    fn fills_by_key<'b>(
        &self,
        batch: &'b Batch,
        slice: &Range<usize>,
        prepared: &Prepared,
        out: &[Exclusions],
    ) -> Vec<HashMap<&'b [u8], &'b [u8]>> {
        prepared
            .fills
            .iter()
            .map(|fill| {
                let rows = &batch.rows[fill.route];
                pending_rows(batch, slice, fill.route, &out[fill.route])
                    .iter()
                    .map(|row| (rows.key(row), rows.rest(row)))
                    .collect()
            })
            .collect()
    }

    /// Asks the database about the staged rows: what is already there, what contradicts what is
    /// there, what lacks its parent. Returns the dead.
    async fn judge(
        &self,
        batch: &Batch,
        slice: &Range<usize>,
        out: &mut [Exclusions],
    ) -> Result<Vec<(usize, Reason)>, tokio_postgres::Error> {
        let mut dead: HashMap<usize, Reason> = HashMap::new();
        for (index, prepared) in self.routes.iter().enumerate() {
            let rows = pending_rows(batch, slice, index, &out[index]);
            if rows.is_empty() {
                continue;
            }
            let table = &prepared.route.table;
            if let Some(statement) = &prepared.present {
                for row in self.client.query(statement, &[]).await? {
                    let (event, same): (i32, bool) = (row.get(0), row.get(1));
                    if same {
                        out[index].present.insert(event);
                    } else if prepared.route.mode == Mode::Insert {
                        dead.entry(event as usize).or_insert_with(|| conflict(prepared));
                    }
                }
            }
            if let Some(statement) = &prepared.orphans {
                let orphans = self.client.query(statement, &[]).await?;
                let parents = self.parents_in(batch, slice, index, out);
                for row in orphans {
                    let event: i32 = row.get(0);
                    if !parents.contains(&(event as u32)) {
                        dead.entry(event as usize).or_insert_with(|| missing_parent(prepared));
                    }
                }
            }
            if let Some(statement) = &prepared.fill_state {
                let inserted = self.keys_in(batch, slice, table, out);
                let by_event: HashMap<u32, &[u8]> =
                    rows.iter().map(|row| (row.event, batch.rows[index].key(row))).collect();
                for row in self.client.query(statement, &[]).await? {
                    let event: i32 = row.get(0);
                    let (found, free, same): (bool, bool, bool) =
                        (row.get(1), row.get(2), row.get(3));
                    if !found {
                        let key = by_event.get(&(event as u32));
                        if key.is_none_or(|key| !inserted.contains(key)) {
                            dead.entry(event as usize).or_insert_with(|| missing_parent(prepared));
                        }
                    } else if same {
                        out[index].present.insert(event);
                    } else if !free {
                        dead.entry(event as usize).or_insert_with(|| conflict(prepared));
                    }
                }
            }
        }
        Ok(dead.into_iter().collect())
    }

    /// Keys that insert routes of this slice bring into a table.
    fn keys_in<'b>(
        &self,
        batch: &'b Batch,
        slice: &Range<usize>,
        table: &str,
        out: &[Exclusions],
    ) -> HashSet<&'b [u8]> {
        let mut keys = HashSet::new();
        for (index, prepared) in self.routes.iter().enumerate() {
            if prepared.route.table == table && prepared.present.is_some() {
                let rows = pending_rows(batch, slice, index, &out[index]);
                keys.extend(rows.iter().map(|row| batch.rows[index].key(row)));
            }
        }
        keys
    }

    /// Events of a route whose parent row comes in the same slice.
    fn parents_in(
        &self,
        batch: &Batch,
        slice: &Range<usize>,
        index: usize,
        out: &[Exclusions],
    ) -> HashSet<u32> {
        let Some(parent) = &self.routes[index].route.parent else { return HashSet::new() };
        let keys = self.keys_in(batch, slice, &parent.table, out);
        pending_rows(batch, slice, index, &out[index])
            .iter()
            .filter(|row| {
                let wanted = fields_at(batch.rows[index].fields(row), &parent.columns);
                keys.contains(&wanted[..])
            })
            .map(|row| row.event)
            .collect()
    }

    /// Lands one event that has a processor: its rows for `*`, then the call, in one savepoint.
    async fn process(
        &self,
        batch: &Batch,
        event: usize,
        high_water: i64,
        out: &[Exclusions],
        changed: &mut [u64],
    ) -> Result<Fate, tokio_postgres::Error> {
        let is_old = |index: &usize| {
            out[*index].present.contains(&(event as i32))
                || out[*index].repeated.contains(&(event as u32))
        };
        let own: Vec<usize> = (0..self.routes.len())
            .filter(|index| !batch.rows[*index].within(&(event..event + 1)).is_empty())
            .collect();
        let mut keyed = own.iter().filter(|index| self.routes[**index].route.mode != Mode::Append);
        let known = if keyed.clone().next().is_some() {
            keyed.all(is_old)
        } else {
            batch.events[event].id.is_none_or(|id| id <= high_water)
        };
        if known {
            return Ok(Fate::Duplicate);
        }
        let fresh: Vec<usize> = own.into_iter().filter(|index| !is_old(index)).collect();
        self.client.batch_execute("savepoint event").await?;
        match self.land_and_call(batch, event, &fresh).await {
            Ok(counts) => {
                for (index, count) in counts {
                    changed[index] += count;
                }
                Ok(Fate::Landed)
            }
            Err(_) if self.client.is_closed() => {
                // Nothing was decided; let the broken session surface through the next statement.
                self.client.batch_execute("release savepoint event").await?;
                Ok(Fate::Pending)
            }
            Err(reason) => {
                let undo = "rollback to savepoint event; release savepoint event";
                self.client.batch_execute(undo).await?;
                Ok(Fate::Dead(reason))
            }
        }
    }

    async fn land_and_call(
        &self,
        batch: &Batch,
        event: usize,
        routes: &[usize],
    ) -> Result<Vec<(usize, u64)>, Reason> {
        let unexpected = |error: tokio_postgres::Error| {
            refusal(&error).unwrap_or_else(|| Reason::new("processor_error", error.to_string()))
        };
        let only = vec![event as i32];
        let mut counts = Vec::with_capacity(routes.len());
        for index in routes {
            let land_only = &self.routes[*index].land_only;
            counts.push((
                *index,
                self.client.execute(land_only, &[&only]).await.map_err(unexpected)?,
            ));
        }
        let subject = &batch.events[event];
        let call = ProcessorEvent {
            event_type: batch.event_type(subject).to_owned(),
            data: String::from_utf8_lossy(batch.data(subject)).into_owned(),
        };
        let mut cursor = Cursor::new(self.client.clone(), tokio::runtime::Handle::current());
        let host = self.host.clone();
        let failed =
            |why: String| Reason::new("processor_error", format!("the processor failed: {why}"));
        tokio::task::spawn_blocking(move || host.process(&call, &mut cursor))
            .await
            .map_err(|panic| failed(panic.to_string()))?
            .map_err(failed)?;
        // A statement that failed and was caught has spoilt the savepoint; it shows here.
        self.client.batch_execute("release savepoint event").await.map_err(|_| {
            failed("it caught a database error and went on; let the error out instead".into())
        })?;
        Ok(counts)
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

const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_CHUNK: usize = 256 << 10;

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

/// Update routes that may travel with an insert route of the same table and key.
fn fills_of(index: usize, catalog: &Catalog) -> Vec<Fill> {
    let insert = &catalog.routes[index];
    if insert.mode != Mode::Insert {
        return Vec::new();
    }
    let key = |route: &Route| -> Vec<String> {
        route.columns[..route.key_len].iter().map(|column| column.name.clone()).collect()
    };
    let mut taken: HashSet<&str> =
        insert.columns.iter().map(|column| column.name.as_str()).collect();
    let mut fills = Vec::new();
    for (at, update) in catalog.routes.iter().enumerate() {
        let columns = &update.columns[update.key_len..];
        let fits = update.mode == Mode::Update
            && update.table == insert.table
            && key(update) == key(insert)
            && columns
                .iter()
                .all(|column| column.may_wait && !taken.contains(column.name.as_str()));
        if fits {
            taken.extend(columns.iter().map(|column| column.name.as_str()));
            fills.push(Fill { route: at, columns: columns.len() });
        }
    }
    fills
}

/// The encoded fields at some places of a row, one after the other.
fn fields_at(mut fields: &[u8], places: &[usize]) -> Vec<u8> {
    let mut all: Vec<&[u8]> = Vec::new();
    while let Some((head, rest)) = fields.split_first_chunk::<4>() {
        let len = usize::try_from(i32::from_be_bytes(*head)).unwrap_or(0);
        all.push(&fields[..4 + len]);
        fields = &rest[len..];
    }
    places.iter().flat_map(|place| all[*place].iter().copied()).collect()
}

fn conflict(prepared: &Prepared) -> Reason {
    let key: Vec<&str> =
        prepared.route.columns[..prepared.route.key_len].iter().map(|c| c.name.as_str()).collect();
    Reason::new(
        "conflict",
        format!(
            "{} has a row with the same {} and other content",
            prepared.route.table,
            key.join(", ")
        ),
    )
}

fn missing_parent(prepared: &Prepared) -> Reason {
    let (table, of) = match &prepared.route.parent {
        Some(parent) => (&parent.table, prepared.route.table.as_str()),
        None => (&prepared.route.table, "the update"),
    };
    Reason::new("missing_parent", format!("{table} has no row for the one that {of} refers to"))
}

/// The reason for a dead letter, where the database refused the data rather than the session.
fn refusal(error: &tokio_postgres::Error) -> Option<Reason> {
    let db = error.as_db_error()?;
    let code = db.code().code();
    let what = match code {
        "23505" => "conflict",
        "23503" => "missing_parent",
        "23502" => "missing_field",
        "23514" | "22003" | "22008" | "22001" => "out_of_range",
        _ if code.starts_with("23") => "constraint",
        _ if code.starts_with("22") => "wrong_type",
        // Program limits: a value too large for an index or a type.
        "54000" => "out_of_range",
        // Raised by a trigger.
        "P0001" => "constraint",
        _ => return None,
    };
    let table =
        db.table().map(|t| format!("{}.{t}", db.schema().unwrap_or("?"))).unwrap_or_default();
    let place = match (db.constraint(), db.column()) {
        (Some(constraint), _) => format!(", constraint {constraint}"),
        (None, Some(column)) => format!(", column {column}"),
        _ => String::new(),
    };
    // The primary message of these codes may quote a value only for class 22; keep it, it is the
    // explanation, and a dead letter holds the raw bytes anyway.
    Some(Reason::new(what, format!("{table}{place}: {} (sqlstate {code})", db.message())))
}
