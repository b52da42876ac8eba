//! One event's bytes to encoded rows, or to the reason why not. Nothing here asks the database.

use std::collections::HashMap;

use crate::batch::RouteRows;
use crate::catalog::{Catalog, Column, Route, Source};
use crate::encode::{Misfit, put_null};
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
    by_type: HashMap<String, TypePlan>,
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
    /// Each column with its value's slot in the selector.
    columns: Vec<(Column, Option<usize>)>,
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
        let types = catalog.routes.iter().filter(|route| !route.is_for_all());
        let plan = |event: &str| TypePlan::new(catalog, event, split, wanted);
        Self {
            by_type: types.map(|route| (route.event.clone(), plan(&route.event))).collect(),
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
        let plan = self.by_type.get_mut(event_type).unwrap_or(&mut self.any);
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
                columns: route
                    .columns
                    .iter()
                    .map(|column| {
                        let slot = match &column.source {
                            Source::Pointer(pointer) => Some(selector.add(pointer)),
                            _ => None,
                        };
                        (column.clone(), slot)
                    })
                    .collect(),
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
        for (place, (column, slot)) in self.columns.iter().enumerate() {
            let json = slot.and_then(|slot| found.get(incoming.data, slot));
            if let Err(reason) = put_column(column, json, incoming, &mut rows.bytes) {
                rows.bytes.truncate(start);
                return Err(reason);
            }
            if place + 1 == self.key_len {
                key_end = rows.bytes.len();
            }
        }
        rows.close(event, start, key_end);
        Ok(())
    }
}

fn put_column(
    column: &Column,
    json: Option<&str>,
    incoming: &Incoming<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    let kind = column.kind;
    let (result, got) = match &column.source {
        Source::Pointer(pointer) => match json {
            None | Some("null") if column.required => {
                return Err(Reason::new(
                    "missing_field",
                    format!(
                        "column {:?} needs a value, but {pointer} is missing or null",
                        column.name
                    ),
                ));
            }
            None => {
                put_null(out);
                (Ok(()), "")
            }
            Some(json) => (kind.put_json(out, json), json_kind(json)),
        },
        Source::Id => (kind.put_integer(out, incoming.id), "the offset"),
        Source::Epoch => (kind.put_text(out, incoming.epoch), "the epoch"),
        Source::Event => (kind.put_text(out, incoming.event_type), "the event type"),
        Source::ReceivedAt => (kind.put_time(out, incoming.received_at), "the receive time"),
        Source::Data => (
            match kind {
                crate::encode::Kind::Text { .. } => kind.put_text(out, incoming.data),
                _ => kind.put_json(out, incoming.data.trim()),
            },
            "the data",
        ),
    };
    result.map_err(|misfit| match misfit {
        Misfit::Type { needed } => {
            Reason::new("wrong_type", format!("column {:?} needs {needed}, got {got}", column.name))
        }
        Misfit::Range { why } => Reason::new(
            "out_of_range",
            format!("column {:?} ({}): {why}", column.name, column.sql_type),
        ),
        Misfit::Nul => Reason::new(
            "nul_character",
            format!(
                "column {:?}: the text contains \\u0000, which PostgreSQL cannot store",
                column.name
            ),
        ),
    })
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
