//! One event's bytes to encoded rows, or to the reason why not. Nothing here asks the database.

use crate::batch::RouteRows;
use crate::catalog::{Catalog, Column, Route, Source};
use crate::encode::{Json, Kind, Misfit, put_null};
use crate::selector::{Found, Selector};

/// Why an event cannot land. The code is for programs, the text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl Reason {
    pub(crate) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// One event, as the source gave it.
pub(crate) struct Incoming<'a> {
    pub(crate) id: i64,
    pub(crate) event_type: &'a str,
    pub(crate) data: &'a str,
    pub(crate) epoch: &'a str,
    pub(crate) received_at: jiff::Timestamp,
}

/// Turns events into rows, by type, in two steps: between [`Decoder::read`] and [`Read::encode`]
/// the caller may look at the value that decides which batch the rows belong to.
pub(crate) struct Decoder {
    /// In the order of [`rank`].
    by_type: Vec<(String, TypePlan)>,
    /// For types without a route of their own.
    any: TypePlan,
    found: Found,
}

struct TypePlan {
    selector: Selector,
    /// Slot of the value that events are split by.
    split: Option<usize>,
    routes: Vec<RoutePlan>,
}

struct RoutePlan {
    /// Index of the route in the catalog.
    route: usize,
    key_len: usize,
    puts: Vec<Put>,
    /// What they fill, for the words of a refusal.
    columns: Vec<Column>,
}

/// How one field of a row is made.
#[derive(Clone, Copy)]
struct Put {
    origin: Origin,
    kind: Kind,
    required: bool,
}

/// As [`Source`], with pointers resolved to slots.
#[derive(Clone, Copy)]
enum Origin {
    Slot(usize),
    Id,
    Epoch,
    Event,
    ReceivedAt,
    Data,
}

impl Decoder {
    /// `split` is the pointer to the value that events are split by, where there is one.
    pub(crate) fn new(catalog: &Catalog, split: Option<&str>) -> Self {
        Self::with(catalog, split, |_| true)
    }

    /// For events whose rows for `*` stand already.
    pub(crate) fn late(catalog: &Catalog) -> Self {
        Self::with(catalog, None, |route| !route.is_for_all())
    }

    fn with(catalog: &Catalog, split: Option<&str>, wanted: fn(&Route) -> bool) -> Self {
        let plan = |event: &str| TypePlan::new(catalog, event, split, wanted);
        let types = catalog.routes.iter().filter(|route| !route.is_for_all());
        let mut types: Vec<&str> = types.map(|route| &*route.event).collect();
        types.sort_unstable_by_key(|event| rank(event));
        types.dedup();
        Self {
            by_type: types.into_iter().map(|event| (event.to_owned(), plan(event))).collect(),
            any: plan("*"),
            found: Found::default(),
        }
    }

    /// Finds in one pass over the data every value that routes for `event_type` name, and checks
    /// that the whole is JSON.
    pub(crate) fn read<'a>(
        &'a mut self,
        event_type: &str,
        data: &'a str,
    ) -> Result<Read<'a>, Reason> {
        let known = self.by_type.binary_search_by_key(&rank(event_type), |(event, _)| rank(event));
        let plan = match known {
            Ok(at) => &mut self.by_type[at].1,
            Err(_) => &mut self.any,
        };
        plan.selector
            .pick(data, &mut self.found)
            .map_err(|error| Reason::new("not_json", format!("the data is not JSON: {error}")))?;
        Ok(Read { plan, found: &self.found, data })
    }

    /// [`Decoder::read`] and [`Read::encode`] in one, where only one batch comes into question.
    pub(crate) fn decode(
        &mut self,
        incoming: &Incoming<'_>,
        event: usize,
        rows: &mut [RouteRows],
    ) -> Result<(), Reason> {
        self.read(incoming.event_type, incoming.data)?.encode(incoming, event, rows)
    }
}

/// Types by length first, which tells most of them apart.
fn rank(event: &str) -> (usize, &str) {
    (event.len(), event)
}

/// An event whose values are found and not yet encoded.
pub(crate) struct Read<'a> {
    plan: &'a TypePlan,
    found: &'a Found,
    data: &'a str,
}

impl<'a> Read<'a> {
    /// The JSON text of the value that the event is split by; `None` where the preset names none
    /// or the event lacks it.
    pub(crate) fn split(&self) -> Option<&'a str> {
        self.found.get(self.data, self.plan.split?)
    }

    /// Appends the event's rows to `rows` (by route) under the number `event`: all of them, or
    /// none and the reason. `incoming` is the event that was read.
    pub(crate) fn encode(
        self,
        incoming: &Incoming<'_>,
        event: usize,
        rows: &mut [RouteRows],
    ) -> Result<(), Reason> {
        debug_assert!(std::ptr::eq(self.data, incoming.data), "another event was read");
        for route in &self.plan.routes {
            let rows_of = &mut rows[route.route];
            if let Err(reason) = route.encode(incoming, self.found, event, rows_of) {
                for route in &self.plan.routes {
                    rows[route.route].forget(event);
                }
                return Err(reason);
            }
        }
        Ok(())
    }
}

impl TypePlan {
    fn new(
        catalog: &Catalog,
        event: &str,
        split: Option<&str>,
        wanted: fn(&Route) -> bool,
    ) -> Self {
        let mut selector = Selector::default();
        let split = split.map(|pointer| selector.add(pointer));
        let routes = catalog
            .routes
            .iter()
            .enumerate()
            .filter(|(_, route)| (route.event == event || route.is_for_all()) && wanted(route))
            .map(|(index, route)| RoutePlan {
                route: index,
                key_len: route.key_len,
                puts: route.columns.iter().map(|column| Put::new(column, &mut selector)).collect(),
                columns: route.columns.clone(),
            })
            .collect();
        Self { selector, split, routes }
    }
}

impl RoutePlan {
    fn encode(
        &self,
        incoming: &Incoming<'_>,
        found: &Found,
        event: usize,
        rows: &mut RouteRows,
    ) -> Result<(), Reason> {
        let start = rows.bytes.len();
        let mut key_end = start;
        for (place, put) in self.puts.iter().enumerate() {
            if let Err(refusal) = put.put(incoming, found, &mut rows.bytes) {
                rows.bytes.truncate(start);
                let json = put.json(incoming, found).map(|json| json.text);
                return Err(refusal.reason(&self.columns[place], json));
            }
            if place + 1 == self.key_len {
                key_end = rows.bytes.len();
            }
        }
        rows.close(event, start, key_end);
        Ok(())
    }
}

impl Put {
    fn new(column: &Column, selector: &mut Selector) -> Self {
        let origin = match &column.source {
            Source::Pointer(pointer) => Origin::Slot(selector.add(pointer)),
            Source::Id => Origin::Id,
            Source::Epoch => Origin::Epoch,
            Source::Event => Origin::Event,
            Source::ReceivedAt => Origin::ReceivedAt,
            Source::Data => Origin::Data,
        };
        Self { origin, kind: column.kind, required: column.required }
    }

    /// The JSON that the field is made of, if it is made of any.
    fn json<'a>(&self, incoming: &Incoming<'a>, found: &Found) -> Option<Json<'a>> {
        let Origin::Slot(slot) = self.origin else { return None };
        let text = found.get(incoming.data, slot)?;
        Some(Json { text, plain: found.is_plain() })
    }

    /// Appends the field; where it is refused, nothing.
    fn put(
        &self,
        incoming: &Incoming<'_>,
        found: &Found,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let kind = self.kind;
        match self.origin {
            Origin::Slot(_) => match self.json(incoming, found) {
                None | Some(Json { text: "null", .. }) if self.required => {
                    return Err(Refusal::Missing);
                }
                None => {
                    put_null(out);
                    Ok(())
                }
                Some(json) => kind.put_json(out, json),
            },
            Origin::Id => kind.put_integer(out, incoming.id),
            Origin::Epoch => kind.put_text(out, incoming.epoch),
            Origin::Event => kind.put_text(out, incoming.event_type),
            Origin::ReceivedAt => kind.put_time(out, incoming.received_at),
            Origin::Data => match kind {
                Kind::Text { .. } => kind.put_text(out, incoming.data),
                _ => {
                    let text = incoming.data.trim();
                    kind.put_json(out, Json { text, plain: found.is_plain() })
                }
            },
        }
        .map_err(Refusal::Misfit)
    }
}

/// Why a field could not be made.
enum Refusal {
    Missing,
    Misfit(Misfit),
}

impl Refusal {
    /// The same in words; `json` is what was found for the column.
    #[cold]
    fn reason(self, column: &Column, json: Option<&str>) -> Reason {
        let name = &column.name;
        let got = match &column.source {
            Source::Pointer(_) => json.map_or("", json_kind),
            Source::Id => "the offset",
            Source::Epoch => "the epoch",
            Source::Event => "the event type",
            Source::ReceivedAt => "the receive time",
            Source::Data => "the data",
        };
        match self {
            Self::Missing => {
                let pointer = match &column.source {
                    Source::Pointer(pointer) => pointer.as_str(),
                    _ => "",
                };
                let text =
                    format!("column {name:?} needs a value, but {pointer} is missing or null");
                Reason::new("missing_field", text)
            }
            Self::Misfit(Misfit::Type { needed }) => {
                Reason::new("wrong_type", format!("column {name:?} needs {needed}, got {got}"))
            }
            Self::Misfit(Misfit::Range { why }) => {
                Reason::new("out_of_range", format!("column {name:?} ({}): {why}", column.sql_type))
            }
            Self::Misfit(Misfit::Nul) => Reason::new(
                "nul_character",
                format!(
                    "column {name:?}: the text contains \\u0000, which PostgreSQL cannot store"
                ),
            ),
        }
    }
}

/// The kind of a JSON value, for messages that must not quote it.
fn json_kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}
