//! One event's bytes to encoded rows, or to the reason why not. Nothing here asks the database.

mod drift;
mod put;

use crate::batch::RouteRows;
use crate::catalog::{Catalog, Column, Drift, Route};
use crate::encode::put_null;
use crate::grow::Growth;
use crate::preset::{Missing, Mistyped};
use crate::selector::{Found, Selector};

pub(crate) use drift::DriftKind;
use drift::{Told, Watch};
use put::{Put, Refusal, View};

/// Why an event cannot land. The code is for programs, the text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) code: &'static str,
    pub(crate) text: String,
    /// The route says that the run must not go on behind such an event.
    pub(crate) fatal: bool,
    /// The columns that are to be added before the run goes on with this event.
    pub(crate) grow: Vec<Growth>,
}

impl Reason {
    pub(crate) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), fatal: false, grow: Vec::new() }
    }
}

/// One event, as the source gave it.
pub(crate) struct Incoming<'a> {
    pub(crate) id: i64,
    /// The id as the source wrote it; empty where it wrote none.
    pub(crate) sse_id: &'a str,
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
    told: Told,
}

struct TypePlan {
    selector: Selector,
    /// Whether a route can do without data that is not JSON.
    takes_text: bool,
    watch: Option<Watch>,
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
    table: String,
    drift: Drift,
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
            told: Told::default(),
        }
    }

    /// Finds in one pass over the data every value that routes for `event_type` name, and checks
    /// that the whole is JSON, unless none of them needs that.
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
        let is_json = match plan.selector.pick(data, &mut self.found) {
            Ok(()) => true,
            Err(_) if plan.takes_text => {
                self.found.forget();
                false
            }
            Err(error) => {
                return Err(Reason::new("not_json", format!("the data is not JSON: {error}")));
            }
        };
        Ok(Read { plan, found: &self.found, told: &self.told, data, is_json })
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
    told: &'a Told,
    data: &'a str,
    is_json: bool,
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
        if let Some(watch) = &self.plan.watch {
            watch.look(self.data, self.told, event, rows)?;
        }
        let view = View { incoming, found: self.found, is_json: self.is_json };
        for route in &self.plan.routes {
            let rows_of = &mut rows[route.route];
            if let Err(reason) = route.encode(&view, self.told, event, rows_of) {
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
        let split_pointer = split;
        let split = split.map(|pointer| selector.add(pointer));
        let routes = catalog
            .routes
            .iter()
            .enumerate()
            .filter(|(_, route)| (route.event == event || route.is_for_all()) && wanted(route))
            .map(|(index, route)| RoutePlan {
                route: index,
                key_len: route.key_len,
                puts: route
                    .columns
                    .iter()
                    .map(|column| Put::new(column, &route.drift, &mut selector))
                    .collect(),
                columns: route.columns.clone(),
                table: route.table.clone(),
                drift: route.drift.clone(),
            })
            .collect::<Vec<RoutePlan>>();
        let takes_text = routes.iter().flat_map(|route| &route.puts).all(Put::takes_text);
        let watch = Watch::new(catalog, &routes, split_pointer);
        Self { selector, takes_text, watch, split, routes }
    }
}

impl RoutePlan {
    #[inline]
    fn encode(
        &self,
        view: &View<'_>,
        told: &Told,
        event: usize,
        rows: &mut RouteRows,
    ) -> Result<(), Reason> {
        let start = rows.bytes.len();
        let mut key_end = start;
        for (place, put) in self.puts.iter().enumerate() {
            if let Err(refusal) = put.put(view, &mut rows.bytes) {
                self.refuse(place, refusal, view, told, event, start, rows)?;
            }
            if place + 1 == self.key_len {
                key_end = rows.bytes.len();
            }
        }
        rows.close(event, start, key_end);
        Ok(())
    }

    /// A value was refused: by the route's policies its field is null, or the event a dead letter.
    #[cold]
    #[allow(clippy::too_many_arguments)] // all that is known at that place
    fn refuse(
        &self,
        place: usize,
        refusal: Refusal,
        view: &View<'_>,
        told: &Told,
        event: usize,
        start: usize,
        rows: &mut RouteRows,
    ) -> Result<(), Reason> {
        let column = &self.columns[place];
        let is_missing = matches!(refusal, Refusal::Missing | Refusal::Absent);
        let (watched, kind) = if is_missing {
            (self.drift.missing.is_some(), DriftKind::Missing)
        } else {
            (self.drift.mistyped.is_some(), DriftKind::Mistyped)
        };
        let becomes_null = match &refusal {
            Refusal::Missing => false,
            Refusal::Absent => self.drift.missing == Some(Missing::Null),
            Refusal::Misfit(_) => self.drift.mistyped == Some(Mistyped::Null) && !column.required,
        };
        let words = || refusal.reason(column, self.puts[place].json(view).map(|json| json.text));
        if watched {
            rows.note(event, kind);
            told.field(self.route, place, kind, || {
                let fate = if becomes_null { "stored as null" } else { "refused" };
                format!("route to {}: {}; {fate}", self.table, words().text)
            });
        }
        if becomes_null {
            put_null(&mut rows.bytes);
            return Ok(());
        }
        let mut reason = words();
        rows.bytes.truncate(start);
        reason.fatal = if is_missing {
            self.drift.missing == Some(Missing::Fail)
        } else {
            self.drift.mistyped == Some(Mistyped::Fail)
        };
        Err(reason)
    }
}
