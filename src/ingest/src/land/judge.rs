//! What becomes of the events of a slice: repetitions within it, and what the database says about
//! the rest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::{Exclusions, Known, Lander, Prepared, pending_rows};
use crate::batch::{Batch, Fate, Missing, Row};
use crate::decode::Reason;
use crate::preset::Mode;

/// What the database's answers mean for a slice.
pub(super) enum Judgement {
    /// These events do not land now; none, if all can.
    Aside(Aside),
    /// What comes before this event must land first.
    SplitAt(usize),
}

/// Events that do not land with their slice: dead, waiting, or still pending, which are put off
/// until the others have landed.
pub(super) type Aside = BTreeMap<usize, Verdict>;

#[derive(Clone)]
pub(super) struct Verdict {
    pub(super) fate: Fate,
    /// The route whose row decided it.
    route: usize,
}

impl Lander {
    /// Tells rows whose key came earlier in the slice, with the same bytes or with others, and rows
    /// that key-less routes must not take twice.
    pub(super) fn find_repeats(
        &self,
        batch: &Batch,
        slice: &Range<usize>,
        known: &Known<'_>,
        out: &mut [Exclusions],
    ) {
        for (index, prepared) in self.routes.iter().enumerate() {
            let rows = &batch.rows[index];
            let out = &mut out[index];
            let mut seen: HashMap<&[u8], &Row> = HashMap::new();
            for row in rows.within(slice) {
                let event = &batch.events[row.event as usize];
                if event.fate != Fate::Pending || out.aside.contains(&row.event) {
                    continue;
                }
                if prepared.route.mode == Mode::Append {
                    if known.has(batch, row.event as usize) {
                        out.old.insert(row.event);
                    }
                    continue;
                }
                let Some(earlier) = seen.get(rows.key(row)) else {
                    seen.insert(rows.key(row), row);
                    continue;
                };
                if prepared.route.mode == Mode::Upsert {
                    out.repeated.insert(earlier.event, row.event);
                    seen.insert(rows.key(row), row);
                } else if rows.fields(earlier) == rows.fields(row) {
                    out.repeated.insert(row.event, earlier.event);
                } else {
                    out.rivals.insert(row.event);
                }
            }
        }
    }

    /// Asks the database about the staged rows: what is already there, what contradicts what is
    /// there or a constraint, what lacks its parent.
    pub(super) async fn judge(
        &self,
        batch: &Batch,
        slice: &Range<usize>,
        out: &mut [Exclusions],
    ) -> Result<Judgement, tokio_postgres::Error> {
        let mut aside = Aside::new();
        let mut orphans: Vec<Orphan<'_>> = Vec::new();
        for (index, out) in out.iter_mut().enumerate() {
            if !pending_rows(batch, slice, index, out).is_empty() {
                self.judge_route(batch, index, out, &mut aside, &mut orphans).await?;
            }
        }
        let lone = self.set_orphans_aside(batch, slice, orphans, out, &mut aside);
        // A processor may bring the parent: its events must be through before the child is judged.
        let after_processor =
            lone.into_iter().filter(|event| self.has_processor(batch, slice.start..*event)).min();
        if let Some(event) = after_processor {
            return Ok(Judgement::SplitAt(event));
        }
        // The same row for the same reason.
        for (index, out) in out.iter().enumerate() {
            for (event, first) in &out.repeated {
                if let Some(verdict) = aside.get(&(*first as usize)).filter(|v| v.route == index) {
                    let verdict = verdict.clone();
                    aside.entry(*event as usize).or_insert(verdict);
                }
            }
        }
        Ok(Judgement::Aside(aside))
    }

    async fn judge_route<'a>(
        &'a self,
        batch: &Batch,
        index: usize,
        out: &mut Exclusions,
        aside: &mut Aside,
        orphans: &mut Vec<Orphan<'a>>,
    ) -> Result<(), tokio_postgres::Error> {
        let prepared = &self.routes[index];
        let rows = &batch.rows[index];
        let mut set_aside = |event: i32, fate: Fate| {
            aside.entry(event as usize).or_insert(Verdict { fate, route: index });
        };
        // Rivals are judged by what is there; where nothing is, the first of them comes first.
        let mut judged: HashSet<u32> = HashSet::new();
        if let Some(statement) = &prepared.misfits {
            for row in self.client.query(statement, &[]).await? {
                set_aside(row.get(0), Fate::Dead(refused_by(prepared, row.get(1))));
            }
        }
        if let Some(statement) = &prepared.present {
            for row in self.client.query(statement, &[]).await? {
                let (event, same): (i32, bool) = (row.get(0), row.get(1));
                judged.insert(event as u32);
                if same {
                    out.present.insert(event);
                } else if prepared.route.mode == Mode::Insert {
                    set_aside(event, Fate::Dead(conflict(prepared)));
                }
            }
        }
        if let Some(statement) = &prepared.fill_state {
            for row in self.client.query(statement, &[]).await? {
                let event: i32 = row.get(0);
                let (found, free, same): (bool, bool, bool) = (row.get(1), row.get(2), row.get(3));
                if !found {
                    let key = rows.of(event as usize).map(|row| rows.key(&row).to_vec());
                    orphans.push(Orphan {
                        event: event as usize,
                        route: index,
                        table: &prepared.route.table,
                        key: key.unwrap_or_default(),
                        id: row.get(4),
                    });
                } else if same {
                    judged.insert(event as u32);
                    out.present.insert(event);
                } else if !free {
                    set_aside(event, Fate::Dead(conflict(prepared)));
                }
            }
        }
        for event in out.rivals.difference(&judged) {
            set_aside(*event as i32, Fate::Pending);
        }
        if let (Some(statement), Some(parent)) = (&prepared.orphans, &prepared.route.parent) {
            for row in self.client.query(statement, &[]).await? {
                let event = row.get::<_, i32>(0) as usize;
                let key = rows.of(event).map(|row| fields_at(rows.fields(&row), &parent.columns));
                orphans.push(Orphan {
                    event,
                    route: index,
                    table: &parent.table,
                    key: key.unwrap_or_default(),
                    id: row.get(1),
                });
            }
        }
        Ok(())
    }

    /// Sets aside the orphans whose parent does not come in the same slice either. An orphan set
    /// aside brings nothing to its own children, so this goes on until nothing changes. Returns
    /// the events set aside.
    fn set_orphans_aside(
        &self,
        batch: &Batch,
        slice: &Range<usize>,
        mut orphans: Vec<Orphan<'_>>,
        out: &[Exclusions],
        aside: &mut Aside,
    ) -> HashSet<usize> {
        let mut lone = HashSet::new();
        orphans.retain(|orphan| !aside.contains_key(&orphan.event));
        while !orphans.is_empty() {
            let mut keys: HashMap<&str, HashSet<&[u8]>> = HashMap::new();
            for orphan in &orphans {
                keys.entry(orphan.table)
                    .or_insert_with(|| self.keys_in(batch, slice, orphan.table, out, aside));
            }
            let (brought, left): (Vec<_>, Vec<_>) =
                orphans.into_iter().partition(|o| keys[o.table].contains(&o.key[..]));
            if left.is_empty() {
                break;
            }
            for orphan in left {
                lone.insert(orphan.event);
                let prepared = &self.routes[orphan.route];
                let fate = if prepared.route.is_for_all() {
                    // Without its row for `*` an event would leave no trace while it waits.
                    Fate::Dead(missing_parent(prepared, orphan.table))
                } else {
                    let table = orphan.table.to_owned();
                    Fate::Waiting(Missing { table, key: orphan.key, id: orphan.id })
                };
                aside.entry(orphan.event).or_insert(Verdict { fate, route: orphan.route });
            }
            orphans = brought;
            orphans.retain(|orphan| !aside.contains_key(&orphan.event));
        }
        lone
    }

    /// Whether an event of this range waits for its processor.
    fn has_processor(&self, batch: &Batch, mut range: Range<usize>) -> bool {
        range.any(|event| {
            let event = &batch.events[event];
            event.fate == Fate::Pending && self.host.processor(batch.event_type(event))
        })
    }

    /// An event all of whose insert routes have their row already is a replay: its upserts, which
    /// may be older than what is stored, are left out.
    pub(super) fn spare_replays(
        &self,
        batch: &Batch,
        slice: &Range<usize>,
        out: &mut [Exclusions],
    ) {
        let of_mode =
            |mode| (0..self.routes.len()).filter(move |i| self.routes[*i].route.mode == mode);
        for upsert in of_mode(Mode::Upsert) {
            for row in pending_rows(batch, slice, upsert, &out[upsert]) {
                let event = row.event as usize..row.event as usize + 1;
                let mut inserts = of_mode(Mode::Insert)
                    .filter(|i| !batch.rows[*i].within(&event).is_empty())
                    .peekable();
                if inserts.peek().is_some()
                    && inserts.all(|i| out[i].present.contains(&(row.event as i32)))
                {
                    out[upsert].present.insert(row.event as i32);
                }
            }
        }
    }

    /// Keys that insert routes of this slice bring into a table.
    fn keys_in<'b>(
        &self,
        batch: &'b Batch,
        slice: &Range<usize>,
        table: &str,
        out: &[Exclusions],
        aside: &Aside,
    ) -> HashSet<&'b [u8]> {
        let mut keys = HashSet::new();
        for (index, prepared) in self.routes.iter().enumerate() {
            if prepared.route.table == table && prepared.present.is_some() {
                let rows = pending_rows(batch, slice, index, &out[index]);
                let landing = rows.iter().filter(|row| !aside.contains_key(&(row.event as usize)));
                keys.extend(landing.map(|row| batch.rows[index].key(row)));
            }
        }
        keys
    }
}

/// A staged row whose parent the database does not have.
struct Orphan<'a> {
    event: usize,
    route: usize,
    table: &'a str,
    key: Vec<u8>,
    id: String,
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

fn refused_by(prepared: &Prepared, constraint: &str) -> Reason {
    let table = &prepared.route.table;
    Reason::new("out_of_range", format!("{table}: the row violates the constraint {constraint}"))
}

fn missing_parent(prepared: &Prepared, parent: &str) -> Reason {
    let text = format!("{parent} has no row for the one that {} refers to", prepared.route.table);
    Reason::new("missing_parent", text)
}

/// The reason for a dead letter, where the database refused the data rather than the session.
pub(super) fn refusal(error: &tokio_postgres::Error) -> Option<Reason> {
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
