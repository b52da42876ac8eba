//! A batch: events in stream order with their raw bytes, and the encoded rows of each route.

use std::ops::Range;

use crate::decode::{DriftKind, Reason};
use crate::grow::Growth;
use crate::settle::Committed;

/// Events that are committed together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    /// Encoded rows, by index of the route in the catalog.
    pub(crate) rows: Vec<RouteRows>,
    /// Ids, types and data of the events, one after the other.
    text: Vec<u8>,
    /// Where the offset stands when this batch is committed, and the highest id that the stream has
    /// had until then. Set when the batch is handed over; never for missed events, which move nothing.
    pub(crate) position: Option<i64>,
    pub(crate) peak: i64,
    /// What is stored beside the position to resume from, where offsets are counted.
    pub(crate) resume_token: Option<String>,
    /// A range of offsets that these events are all there is of; for a batch that repairs gaps in
    /// sparse offsets.
    pub(crate) covered: Option<(i64, i64)>,
    /// Offsets that the source passed over before or between these events.
    pub(crate) gaps: Vec<Gap>,
    /// The history these events belong to.
    pub(crate) epoch: String,
    /// Why the run must end with this batch: events behind it were cut off.
    pub(crate) halt: Option<String>,
    /// Columns to be added before the run goes on with the events that were cut off.
    pub(crate) grow: Vec<Growth>,
    /// What the store decided, before it sent COMMIT.
    pub(crate) outcome: Option<Committed>,
}

/// Offsets that did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// `offset_jump`, `in_band`, `anchor`, `gone` or `reconnect`.
    pub(crate) noticed_by: &'static str,
}

/// One event of a batch.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: Option<i64>,
    /// The highest id before it in the batch: a source may go back and send events again.
    pub(crate) peak: Option<i64>,
    /// The id as the source wrote it, the type and the data, in [`Batch::text`].
    source_id: Range<usize>,
    event_type: Range<usize>,
    data: Range<usize>,
    pub(crate) fate: Fate,
    /// Whether the fate was clear before the store saw the event.
    decided: bool,
}

/// What becomes of an event. `Pending` ones are decided by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pending,
    Landed,
    Duplicate,
    /// Passed over by choice (`unknown_events = ignore`).
    Ignored,
    /// Its rows for `*` have landed; the others wait for a parent.
    Waiting(Missing),
    Dead(Reason),
}

/// The parent that an event waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) table: String,
    /// The encoded key, as [`RouteRows::key`] of the row that brings the parent.
    pub(crate) key: Vec<u8>,
    /// The key as text, for people.
    pub(crate) id: String,
}

/// The encoded rows of one route, in stream order.
#[derive(Debug, Default)]
pub(crate) struct RouteRows {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: Vec<Row>,
    /// Events whose data was not as the route expects it, in stream order; also of those that
    /// have no row for that reason.
    drift: Vec<(u32, DriftKind)>,
}

/// One encoded row: COPY fields (length and bytes each), key columns first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) event: u32,
    start: u32,
    key_end: u32,
    end: u32,
}

impl Batch {
    pub(crate) fn new(routes: usize) -> Self {
        Self { rows: (0..routes).map(|_| RouteRows::default()).collect(), ..Self::default() }
    }

    /// Adds an event. Its rows, if any, must have been appended for index `events.len()`.
    pub(crate) fn push(
        &mut self,
        id: Option<i64>,
        source_id: &[u8],
        event_type: &str,
        data: &[u8],
        fate: Fate,
    ) {
        let mut keep = |bytes: &[u8]| {
            let start = self.text.len();
            self.text.extend_from_slice(bytes);
            start..self.text.len()
        };
        let (source_id, event_type, data) =
            (keep(source_id), keep(event_type.as_bytes()), keep(data));
        let decided = fate != Fate::Pending;
        let peak = self.highest();
        self.events.push(Event { id, peak, source_id, event_type, data, fate, decided });
    }

    /// Drops an event and all behind it, for another attempt at those before. The run cannot go on
    /// behind such a batch.
    pub(crate) fn cut(&mut self, at: usize, halt: String) {
        self.halt = Some(halt);
        if let Some(Event { fate: Fate::Dead(reason), .. }) = self.events.get_mut(at) {
            self.grow = std::mem::take(&mut reason.grow);
        }
        self.events.truncate(at);
        for rows in &mut self.rows {
            let kept = rows.rows.partition_point(|row| (row.event as usize) < at);
            rows.rows.truncate(kept);
            rows.drift.retain(|(event, _)| (*event as usize) < at);
        }
        // A batch that repairs gaps moves no position.
        if self.position.is_some() {
            self.position = self.events.iter().rev().find_map(|event| event.id);
            self.peak = self.highest().unwrap_or(0);
        }
        let mut ids = self.events.iter().rev().map(|event| self.source_id(event));
        let last = ids.find(|id| !id.is_empty());
        self.resume_token = last.filter(|_| self.resume_token.is_some());
        self.covered = None;
        self.gaps.retain(|gap| self.position.is_some_and(|position| gap.last < position));
        self.undecide();
    }

    /// Takes back what the store decided, for another attempt.
    pub(crate) fn undecide(&mut self) {
        for event in self.events.iter_mut().filter(|event| !event.decided) {
            event.fate = Fate::Pending;
        }
    }

    /// Whether the ids of the events to be landed grow, all beyond `highest`.
    pub(crate) fn is_beyond(&self, highest: i64) -> bool {
        let mut pending = self.events.iter().filter(|event| event.fate == Fate::Pending);
        pending.all(|event| event.id > event.peak.max(Some(highest)))
    }

    /// The events to be landed have landed: those that brought a row.
    pub(crate) fn set_landed(&mut self) {
        let mut brings = vec![false; self.events.len()];
        for row in self.rows.iter().flat_map(|rows| &rows.rows) {
            brings[row.event as usize] = true;
        }
        for (event, brings) in self.events.iter_mut().zip(brings) {
            if event.fate == Fate::Pending {
                event.fate = if brings { Fate::Landed } else { Fate::Duplicate };
            }
        }
    }

    /// The highest id in the batch.
    pub(crate) fn highest(&self) -> Option<i64> {
        self.events.last().and_then(|event| event.peak.max(event.id))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.gaps.is_empty() && self.position.is_none()
    }

    /// Memory held: event bytes plus encoded rows.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.rows.iter().map(|rows| rows.bytes.len()).sum::<usize>()
    }

    pub(crate) fn source_id(&self, event: &Event) -> String {
        String::from_utf8_lossy(&self.text[event.source_id.clone()]).into_owned()
    }

    pub(crate) fn event_type(&self, event: &Event) -> &str {
        std::str::from_utf8(&self.text[event.event_type.clone()]).unwrap_or_default()
    }

    pub(crate) fn data(&self, event: &Event) -> &[u8] {
        &self.text[event.data.clone()]
    }

    /// Empties the batch and keeps its buffers.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.text.clear();
        for rows in &mut self.rows {
            rows.bytes.clear();
            rows.rows.clear();
            rows.drift.clear();
        }
        self.position = None;
        self.resume_token = None;
        self.covered = None;
        self.gaps.clear();
        self.halt = None;
        self.grow.clear();
        self.outcome = None;
    }
}

impl RouteRows {
    /// Marks what was appended to `bytes` since `start` as the row of an event.
    pub(crate) fn close(&mut self, event: usize, start: usize, key_end: usize) {
        // A batch is bounded far below 4 GiB, so the places fit.
        self.rows.push(Row {
            event: event as u32,
            start: start as u32,
            key_end: key_end as u32,
            end: self.bytes.len() as u32,
        });
    }

    /// Notes that an event's data was not as expected; once for each event and kind.
    pub(crate) fn note(&mut self, event: usize, kind: DriftKind) {
        let note = (event as u32, kind);
        let mut newest = self.drift.iter().rev().take_while(|(of, _)| *of == note.0);
        if !newest.any(|other| *other == note) {
            self.drift.push(note);
        }
    }

    pub(crate) fn drift(&self) -> &[(u32, DriftKind)] {
        &self.drift
    }

    /// Forgets the rows of an event, which must be the newest.
    pub(crate) fn forget(&mut self, event: usize) {
        while let Some(row) = self.rows.last().filter(|row| row.event as usize == event) {
            self.bytes.truncate(row.start as usize);
            self.rows.pop();
        }
    }

    pub(crate) fn fields(&self, row: &Row) -> &[u8] {
        &self.bytes[row.start as usize..row.end as usize]
    }

    pub(crate) fn key(&self, row: &Row) -> &[u8] {
        &self.bytes[row.start as usize..row.key_end as usize]
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.rows.iter().map(|row| self.key(row))
    }

    pub(crate) fn rest(&self, row: &Row) -> &[u8] {
        &self.bytes[row.key_end as usize..row.end as usize]
    }

    /// The row of an event, if it has one.
    pub(crate) fn of(&self, event: usize) -> Option<Row> {
        self.within(&(event..event + 1)).first().copied()
    }

    /// The rows of the events in a range.
    pub(crate) fn within(&self, events: &Range<usize>) -> &[Row] {
        let from = self.rows.partition_point(|row| (row.event as usize) < events.start);
        let to = self.rows.partition_point(|row| (row.event as usize) < events.end);
        &self.rows[from..to]
    }
}
