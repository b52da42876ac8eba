//! From a parsed item to its place in the batch: id, type, policy for unknown types, encoded rows
//! or the reason for a dead letter.

mod envelope;
mod window;

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::batch::{Batch, Fate, Gap};
use crate::catalog::Catalog;
use crate::config::{RunConfig, UnknownEvents};
use crate::decode::{Decoder, Incoming, Reason};
use crate::host::Host;
use crate::offsets::Offset;
use crate::preset::{Ids, Offsets, Reconnect, ResumeClass};
use crate::report::StopReason;
pub(crate) use envelope::{Envelope, Kind};
use window::{Place, Window};

pub(crate) use window::event_time;

/// How a gap shows where offsets are dense and the source says nothing.
const JUMP: &str = "offset_jump";

/// The longest text id: a request must carry it in a header.
const LONGEST_ID: usize = 4096;

/// Takes events in, one at a time.
pub(crate) struct Intake {
    decoder: Decoder,
    catalog: Catalog,
    host: Arc<dyn Host>,
    unknown: UnknownEvents,
    gap_event: Option<String>,
    envelope: Envelope,
    window: Window,
    ids: Ids,
    /// Whether the source sends nothing again, though the run connects again.
    forgets: bool,
    reconnects: bool,
    /// Text ids: the last one, to resume from.
    token: String,
    /// An id has come since this was last asked.
    moved: bool,
    /// Where offsets are our own count: how it came to light that an unknown number of events is
    /// missing before the next one.
    missing: Option<&'static str>,
    /// Why nothing more is to be taken.
    ended: Option<StopReason>,
    epoch: String,
    dense: bool,
    /// The id that dense offsets must go on from; `None` where holes are no loss.
    dense_after: Option<i64>,
    /// The source has lost what follows here and begins again somewhere behind it.
    gone_after: Option<i64>,
    /// What the present response was asked to go on from, until its first event has come.
    asked_after: Option<i64>,
    last_id: i64,
    /// The id after which the stream would go on, and the highest that it has had in this run.
    position: i64,
    peak: i64,
    taken: u64,
}

impl Intake {
    pub(crate) fn new(
        config: &RunConfig,
        catalog: &Catalog,
        host: Arc<dyn Host>,
        offset: &Offset,
    ) -> Self {
        let stream = &config.preset.stream;
        let window = Window::new(&config.limits, stream.lateness_seconds);
        let dense = is_dense(config);
        // A run that begins somewhere has missed nothing before.
        let begins = config.limits.from.is_some() && offset.high_water == 0;
        Self {
            decoder: Decoder::new(catalog, stream.split.as_deref()),
            catalog: catalog.clone(),
            host,
            unknown: config.unknown_events,
            gap_event: stream.gap_event.clone(),
            envelope: Envelope::new(stream, window.is_timed()),
            window,
            ids: stream.ids,
            forgets: stream.class() == ResumeClass::None
                && stream.ids.are_counted()
                && reconnects(config),
            reconnects: reconnects(config),
            token: offset.resume_token.clone().unwrap_or_default(),
            moved: false,
            missing: None,
            ended: None,
            epoch: offset.epoch.clone().unwrap_or_default(),
            dense,
            dense_after: (dense && !begins).then_some(offset.position),
            gone_after: None,
            asked_after: None,
            last_id: offset.position,
            position: offset.position,
            peak: offset.position,
            taken: 0,
        }
    }

    /// Events taken so far in this run.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// The id after which the stream would go on behind what was taken.
    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    /// The highest id that the stream has had.
    pub(crate) fn peak(&self) -> i64 {
        self.peak
    }

    /// Why nothing more is to be taken, where an event said so.
    pub(crate) fn ended(&self) -> Option<StopReason> {
        self.ended.or_else(|| self.window.is_reached(self.position).then_some(StopReason::Until))
    }

    /// Whether a source that has told us all it has can still bring what this run is to take.
    pub(crate) fn has_passed(&self) -> bool {
        self.window.has_passed(self.position, jiff::Timestamp::now())
    }

    /// Whether an id has come since this was last asked: a new connection goes on behind it.
    pub(crate) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// What the stored offset needs beside the position to go on from: an empty text where offsets
    /// are counted and there is nothing to resume from, `None` where the position says it all.
    pub(crate) fn resume_token(&self) -> Option<&str> {
        self.ids.are_counted().then_some(&self.token)
    }

    /// Where nobody said what the ids are: whether events came and none had any.
    pub(crate) fn has_no_ids(&self) -> bool {
        self.ids == Ids::Any && self.token.is_empty() && self.position > 0
    }

    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    pub(crate) fn routes(&self) -> usize {
        self.catalog.routes.len()
    }

    /// A response begins, which should go on where we stand.
    pub(crate) fn connected(&mut self) {
        self.asked_after = Some(self.last_id).filter(|_| !self.ids.are_counted());
        if self.forgets && self.position > 0 || self.reconnects && self.has_no_ids() {
            self.missing = Some("reconnect");
        }
    }

    /// The response says after which id it begins. Ids between where we stand and that one are
    /// lost there.
    pub(crate) fn anchored(&mut self, anchor: &str, batches: &mut [Batch]) {
        if self.ids.are_counted() {
            if !self.token.is_empty() && self.token != anchor {
                self.missing = Some("anchor");
            }
            return;
        }
        match parse_id(anchor.as_bytes()) {
            Some(anchor) => {
                self.note_gap(Some(anchor), "anchor", &mut batches[0]);
                if anchor > self.last_id {
                    self.last_id = anchor;
                    self.asked_after = Some(anchor);
                    self.advance(Some(anchor));
                }
            }
            None => tracing::warn!(
                "the response begins after {anchor:.100?}, which is no offset; whether events were missed cannot be told"
            ),
        }
    }

    /// The source no longer has what follows where we stand: what comes next ends a gap.
    pub(crate) fn gone(&mut self) {
        if self.ids.are_counted() {
            self.missing = Some("gone");
        } else {
            self.gone_after = Some(self.last_id);
        }
        tracing::warn!(
            "the source no longer has what follows offset {} (http status 410); going on with the oldest that it has",
            self.last_id
        );
    }

    /// From now on events belong to this history, read from its beginning: behind this position.
    pub(crate) fn begin(&mut self, epoch: &str, position: i64) {
        self.name_epoch(epoch);
        (self.last_id, self.position, self.peak) = (position, position, position);
        self.token.clear();
        self.asked_after = None;
        self.gone_after = None;
        self.missing = None;
        self.dense_after = self.dense.then_some(position);
    }

    /// The history we stand in is called so.
    pub(crate) fn name_epoch(&mut self, epoch: &str) {
        epoch.clone_into(&mut self.epoch);
    }

    /// Takes one item into its writer's batch. True if it was an event.
    pub(crate) fn take(&mut self, item: sse::Item<'_>, batches: &mut [Batch]) -> bool {
        match item {
            sse::Item::Event(event) => self.take_event(&event, batches),
            sse::Item::Oversize(event) => {
                let id = if event.own_id { event.id } else { b"" };
                let text = format!(
                    "the event has {} bytes, more than the limit; the first {} are kept",
                    event.bytes,
                    event.head.len()
                );
                let fate = Fate::Dead(Reason::new("too_large", text));
                let offset = self.number(id, &mut batches[0]);
                self.put(offset, id, event.event, event.head, fate, &mut batches[0]);
                true
            }
            sse::Item::IdOnly(id) => {
                self.pass(id, None);
                false
            }
            sse::Item::Comment(_) | sse::Item::Retry(_) => false,
        }
    }

    fn take_event(&mut self, event: &sse::Event<'_>, batches: &mut [Batch]) -> bool {
        let sse_id = if event.own_id { event.id } else { b"" };
        if self.gap_event.as_deref() == Some(event.event) {
            if self.ids.are_counted() {
                self.missing = Some("in_band");
                self.pass(sse_id, None);
                return false;
            }
            self.note_gap(parse_id(sse_id), "in_band", &mut batches[0]);
            self.last_id = parse_id(sse_id).unwrap_or(self.last_id).max(self.last_id);
            self.advance(parse_id(sse_id));
            return false;
        }
        if let Some(raw) = event.raw_data {
            let reason = Reason::new("invalid_utf8", "the data is not valid UTF-8");
            if self.envelope.is_control(event.event) {
                return false;
            }
            let fate = Fate::Dead(reason);
            let id = self.number(sse_id, &mut batches[0]);
            self.put(id, sse_id, event.event, raw, fate, &mut batches[0]);
            return true;
        }
        let says = self.envelope.read(sse_id, event.event, event.data);
        if says.kind == Kind::Done {
            self.ended = Some(StopReason::Done);
            return false;
        }
        let place = self.window.place(self.offset_of(&says.id), says.time);
        if place == Place::Behind {
            self.ended = Some(StopReason::Until);
            return false;
        }
        if says.kind == Kind::Control && self.ids.are_counted() {
            return false;
        }
        if says.kind != Kind::Data || place == Place::Outside {
            self.pass(&says.id, Some(&mut batches[0]));
            return false;
        }
        let (id, event_type) = (self.number(&says.id, &mut batches[0]), says.event_type);
        let dead = |code, text| (0, Fate::Dead(Reason::new(code, text)));
        // As the source wrote it: where the id is a pointer's, what stood there.
        let source_id = if says.id.is_empty() { sse_id } else { &*says.id };
        let text_id = String::from_utf8_lossy(source_id);
        let (writer, fate) = match (id, event_type) {
            (None, _) => (0, Fate::Dead(Reason::new("missing_id", self.no_id()))),
            (_, None) => dead("missing_field", "the event has no type"),
            (Some(id), Some(event_type)) => {
                self.decode(id, &text_id, event_type, event.data, batches)
            }
        };
        let batch = &mut batches[writer];
        let event_type = event_type.unwrap_or(event.event);
        self.put(id, source_id, event_type, event.data.as_bytes(), fate, batch);
        true
    }

    /// Encodes the event into the batch of the writer that it belongs to, and says which.
    fn decode(
        &mut self,
        id: i64,
        sse_id: &str,
        event_type: &str,
        data: &str,
        batches: &mut [Batch],
    ) -> (usize, Fate) {
        let known = self.catalog.knows(event_type)
            || !self.catalog.has_types()
            || self.host.processor(event_type);
        if !known {
            match self.unknown {
                UnknownEvents::Ignore => return (0, Fate::Ignored),
                UnknownEvents::DeadLetter => {
                    let text = format!("no route names the type {event_type:.100?}");
                    return (0, Fate::Dead(Reason::new("unknown_type", text)));
                }
                UnknownEvents::RawOnly => {}
            }
        }
        let incoming = Incoming {
            id,
            sse_id,
            event_type,
            data,
            epoch: &self.epoch,
            received_at: jiff::Timestamp::now(),
        };
        let read = match self.decoder.read(event_type, data) {
            Ok(read) => read,
            Err(reason) => return (0, Fate::Dead(reason)),
        };
        let writer = writer_of(read.split(), batches.len());
        let batch = &mut batches[writer];
        match read.encode(&incoming, batch.events.len(), &mut batch.rows) {
            Ok(()) => (writer, Fate::Pending),
            Err(reason) => (writer, Fate::Dead(reason)),
        }
    }

    /// The offset that an id is, or the next one of our own count.
    fn offset_of(&self, id: &[u8]) -> Option<i64> {
        match self.ids {
            Ids::Integer => parse_id(id),
            Ids::Text => is_token(id).then_some(self.position + 1),
            Ids::Any | Ids::None => Some(self.position + 1),
        }
    }

    /// As [`Intake::offset_of`], for an event that is taken: what is missing before it is noted,
    /// under a number of its own, since nobody knows how much it is.
    fn number(&mut self, id: &[u8], batch: &mut Batch) -> Option<i64> {
        let offset = self.offset_of(id)?;
        let Some(noticed_by) = self.missing.take() else { return Some(offset) };
        batch.gaps.push(Gap { first: offset, last: offset, noticed_by });
        self.advance(Some(offset));
        self.offset_of(id)
    }

    /// Steps over something that is no data and has this id.
    fn pass(&mut self, id: &[u8], batch: Option<&mut Batch>) {
        if self.ids.are_counted() {
            self.keep_token(id);
            return;
        }
        let Some(id) = parse_id(id) else { return };
        if let Some(batch) = batch {
            self.note_gap(Some(id - 1), JUMP, batch);
            self.dense_after = self.dense.then_some(id).max(self.dense_after);
            self.last_id = id;
        }
        self.advance(Some(id));
    }

    fn keep_token(&mut self, id: &[u8]) {
        if matches!(self.ids, Ids::Text | Ids::Any)
            && is_token(id)
            && let Ok(text) = std::str::from_utf8(id)
        {
            self.token.clear();
            self.token.push_str(text);
            self.moved = true;
        }
    }

    fn no_id(&self) -> String {
        match self.ids {
            Ids::Integer => "the event has no integer id".to_owned(),
            _ => format!("the event has no id of text up to {LONGEST_ID} bytes"),
        }
    }

    fn put(
        &mut self,
        id: Option<i64>,
        source_id: &[u8],
        event_type: &str,
        data: &[u8],
        fate: Fate,
        batch: &mut Batch,
    ) {
        let noticed_by = if id.is_some() && self.gone_after.is_some() { "gone" } else { JUMP };
        self.note_gap(id.map(|id| id - 1), noticed_by, batch);
        self.dense_after = self.dense_after.max(id.filter(|_| self.dense));
        self.keep_token(source_id);
        if let Some(id) = id {
            if let Some(asked) = self.asked_after.take().filter(|asked| id <= *asked) {
                tracing::warn!(
                    "the source was asked for what follows offset {asked} and begins at {id}; following it"
                );
            }
            self.last_id = id;
            self.gone_after = None;
        }
        batch.push(id, source_id, event_type, data, fate);
        self.advance(id);
        self.taken += 1;
    }

    /// The position follows the stream, also downwards: what a source sends again is recognised,
    /// what we never ask for is lost.
    fn advance(&mut self, id: Option<i64>) {
        self.position = id.unwrap_or(self.position);
        self.moved |= id.is_some();
        self.peak = self.peak.max(self.position);
    }

    /// The source goes on behind `last`: what lies between the id before and `last` did not come.
    /// A jump says so only where offsets are dense; where they are not, what the source says
    /// itself is an upper bound.
    fn note_gap(&mut self, last: Option<i64>, noticed_by: &'static str, batch: &mut Batch) {
        let before = match noticed_by {
            JUMP => self.dense_after,
            "gone" => self.dense_after.or(self.gone_after),
            _ => self.dense_after.or(Some(self.last_id)),
        };
        let (Some(before), Some(last)) = (before, last) else { return };
        if last > before {
            batch.gaps.push(Gap { first: before + 1, last, noticed_by });
            self.dense_after = self.dense_after.map(|_| last);
        }
    }

    /// Takes an event that was missed, from elsewhere: the position stays. False for one whose
    /// offset is outside of `wanted`.
    pub(crate) fn take_missed(
        &mut self,
        event: &sse::Event<'_>,
        wanted: &RangeInclusive<i64>,
        batch: &mut Batch,
    ) -> bool {
        let says = self.envelope.read(event.id, event.event, event.data);
        let id = parse_id(&says.id).filter(|id| wanted.contains(id) && says.kind == Kind::Data);
        let Some(id) = id else { return false };
        let event_type = says.event_type.unwrap_or(event.event);
        let source_id = id.to_string();
        let batches = std::slice::from_mut(batch);
        let (_, fate) = self.decode(id, &source_id, event_type, event.data, batches);
        batch.push(Some(id), source_id.as_bytes(), event_type, event.data.as_bytes(), fate);
        true
    }
}

/// Whether a hole in the offsets is a loss: they have none by declaration, and no filter of the
/// URL makes any.
fn is_dense(config: &RunConfig) -> bool {
    let stream = &config.preset.stream;
    let query = config.source.url.split_once('?').map_or("", |(_, query)| query);
    let mut names = query.split(['&', '#']).map(|pair| pair.split('=').next().unwrap_or_default());
    stream.offsets == Offsets::Dense
        && !names.any(|name| stream.filters.iter().any(|filter| filter == name))
}

/// Which of `writers` takes an event, by the text of the value it is split by: FNV-1a, in 64 bits, and
/// mixed at the end, because the last characters, which are what differs between numbers that are
/// counted, reach few of its bits. Events without one go to the first.
fn writer_of(split: Option<&str>, writers: usize) -> usize {
    let Some(text) = split.filter(|_| writers > 1) else { return 0 };
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    ((mixed >> 32) % writers as u64) as usize
}

/// Whether a response that ends is asked for again.
fn reconnects(config: &RunConfig) -> bool {
    config.preset.stream.reconnect == Reconnect::Always
}

/// Whether an id can be stored and sent back.
fn is_token(id: &[u8]) -> bool {
    let plain = |byte: &u8| !byte.is_ascii_control();
    !id.is_empty()
        && id.len() <= LONGEST_ID
        && id.iter().all(plain)
        && std::str::from_utf8(id).is_ok()
}

/// An offset: ASCII digits that fit.
fn parse_id(id: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(id).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::writer_of;

    #[test]
    fn numbers_that_are_counted_are_shared_out_evenly() {
        for start in [1, 100, 1_234_000, 10_000_000_000_u64] {
            for writers in [2, 3, 4, 8] {
                let mut counts = vec![0; writers];
                for number in start..start + 1600 {
                    counts[writer_of(Some(&number.to_string()), writers)] += 1;
                }
                let fair = 1600 / writers;
                assert!(
                    counts.iter().all(|count| (fair * 3 / 4..fair * 5 / 4).contains(count)),
                    "{writers} writers from {start}: {counts:?}"
                );
            }
        }
        assert_eq!(writer_of(None, 4), 0);
        assert_eq!(writer_of(Some("7"), 1), 0);
    }
}
