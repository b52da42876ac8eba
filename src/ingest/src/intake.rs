//! From a parsed item to its place in the batch: id, type, policy for unknown types, encoded rows
//! or the reason for a dead letter.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::batch::{Batch, Fate, Gap};
use crate::catalog::Catalog;
use crate::config::{RunConfig, UnknownEvents};
use crate::decode::{Decoder, Incoming, Reason};
use crate::host::Host;
use crate::offsets::Offset;
use crate::preset::{Offsets, StreamSpec};
use crate::selector::{Found, Selector};

/// How a gap shows where offsets are dense and the source says nothing.
const JUMP: &str = "offset_jump";

/// Takes events in, one at a time.
pub(crate) struct Intake {
    decoder: Decoder,
    catalog: Catalog,
    host: Arc<dyn Host>,
    unknown: UnknownEvents,
    gap_event: Option<String>,
    envelope: Envelope,
    epoch: String,
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
        Self {
            decoder: Decoder::new(catalog, config.preset.stream.split.as_deref()),
            catalog: catalog.clone(),
            host,
            unknown: config.unknown_events,
            gap_event: config.preset.stream.gap_event.clone(),
            envelope: Envelope::new(&config.preset.stream),
            epoch: offset.epoch.clone().unwrap_or_default(),
            dense_after: is_dense(config).then_some(offset.position),
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

    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    pub(crate) fn routes(&self) -> usize {
        self.catalog.routes.len()
    }

    /// A response begins, which should go on where we stand.
    pub(crate) fn connected(&mut self) {
        self.asked_after = Some(self.last_id);
    }

    /// The response says after which id it begins. Ids between where we stand and that one are
    /// lost there.
    pub(crate) fn anchored(&mut self, anchor: &str, batches: &mut [Batch]) {
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
        self.gone_after = Some(self.last_id);
        tracing::warn!(
            "the source no longer has what follows offset {} (http status 410); going on with the oldest that it has",
            self.last_id
        );
    }

    /// From now on events belong to this history, read from its beginning.
    pub(crate) fn begin(&mut self, epoch: &str) {
        self.name_epoch(epoch);
        (self.last_id, self.position, self.peak) = (0, 0, 0);
        self.asked_after = None;
        self.gone_after = None;
        self.dense_after = self.dense_after.map(|_| 0);
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
                self.put(parse_id(id), id, event.event, event.head, fate, &mut batches[0]);
                true
            }
            sse::Item::IdOnly(id) => {
                self.advance(parse_id(id));
                false
            }
            sse::Item::Comment(_) | sse::Item::Retry(_) => false,
        }
    }

    fn take_event(&mut self, event: &sse::Event<'_>, batches: &mut [Batch]) -> bool {
        let sse_id = if event.own_id { event.id } else { b"" };
        if self.gap_event.as_deref() == Some(event.event) {
            self.note_gap(parse_id(sse_id), "in_band", &mut batches[0]);
            self.last_id = parse_id(sse_id).unwrap_or(self.last_id).max(self.last_id);
            self.advance(parse_id(sse_id));
            return false;
        }
        if let Some(raw) = event.raw_data {
            let reason = Reason::new("invalid_utf8", "the data is not valid UTF-8");
            let fate = Fate::Dead(reason);
            self.put(parse_id(sse_id), sse_id, event.event, raw, fate, &mut batches[0]);
            return true;
        }
        let (id, event_type) = self.envelope.read(sse_id, event.event, event.data);
        let dead = |code, text| (0, Fate::Dead(Reason::new(code, text)));
        let (writer, fate) = match (id, event_type) {
            (None, _) => dead("missing_id", "the event has no integer id"),
            (_, None) => dead("missing_field", "the event has no type"),
            (Some(id), Some(event_type)) => self.decode(id, event_type, event.data, batches),
        };
        let batch = &mut batches[writer];
        let source_id = id.filter(|_| sse_id.is_empty()).map(|id| id.to_string());
        let source_id = source_id.as_deref().map_or(sse_id, str::as_bytes);
        let event_type = event_type.unwrap_or(event.event);
        self.put(id, source_id, event_type, event.data.as_bytes(), fate, batch);
        true
    }

    /// Encodes the event into the batch of the writer that it belongs to, and says which.
    fn decode(
        &mut self,
        id: i64,
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
        self.dense_after = self.dense_after.max(id.filter(|_| self.dense_after.is_some()));
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
        let (id, event_type) = self.envelope.read(event.id, event.event, event.data);
        let Some(id) = id.filter(|id| wanted.contains(id)) else { return false };
        let event_type = event_type.unwrap_or(event.event);
        let (_, fate) = self.decode(id, event_type, event.data, std::slice::from_mut(batch));
        let source_id = id.to_string();
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

/// Which of `writers` takes an event, by the text of the value it is split by: FNV-1a, in 64 bits.
/// Events without one go to the first.
fn writer_of(split: Option<&str>, writers: usize) -> usize {
    let Some(text) = split.filter(|_| writers > 1) else { return 0 };
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits of this hash are its weakest.
    ((hash >> 32) % writers as u64) as usize
}

/// An offset: ASCII digits that fit.
fn parse_id(id: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(id).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Where the preset finds id and type: in the SSE fields, or by pointers in the data.
struct Envelope {
    selector: Selector,
    id: Option<usize>,
    event_type: Option<usize>,
    found: Found,
}

impl Envelope {
    fn new(stream: &StreamSpec) -> Self {
        let mut selector = Selector::default();
        let mut slot = |place: &str| (place != "sse").then(|| selector.add(place));
        let (id, event_type) = (slot(&stream.id), slot(&stream.event_type));
        Self { selector, id, event_type, found: Found::default() }
    }

    fn read<'a>(
        &mut self,
        sse_id: &[u8],
        sse_type: &'a str,
        data: &'a str,
    ) -> (Option<i64>, Option<&'a str>) {
        if self.id.is_none() && self.event_type.is_none() {
            return (parse_id(sse_id), Some(sse_type));
        }
        // Broken JSON shows as a missing id here and as `not_json` in the decoder.
        let picked = self.selector.pick(data, &mut self.found).is_ok();
        let value = |slot: usize| {
            self.found.get(data, slot).filter(|_| picked).map(|json| json.trim_matches('"'))
        };
        let id = match self.id {
            Some(slot) => value(slot).and_then(|text| parse_id(text.as_bytes())),
            None => parse_id(sse_id),
        };
        let event_type = match self.event_type {
            Some(slot) => value(slot),
            None => Some(sse_type),
        };
        (id, event_type)
    }
}
