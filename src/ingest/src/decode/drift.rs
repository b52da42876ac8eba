//! Data that is not as the preset expects it: what was seen, told once and counted.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Reason, RoutePlan};
use crate::batch::RouteRows;
use crate::catalog::Catalog;
use crate::grow::Growth;
use crate::preset::NewFields;

/// How data differed from what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DriftKind {
    Missing,
    Mistyped,
    NewField,
}

impl DriftKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Mistyped => "mistyped",
            Self::NewField => "new_fields",
        }
    }
}

/// More differences than this in one run are no longer told one by one.
const MOST_TOLD: usize = 100;

/// What has been told in this run: each field once.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By route and place of the column.
    fields: Mutex<BTreeSet<(usize, usize, DriftKind)>>,
    /// By route and pointer.
    new: Mutex<BTreeSet<(usize, String)>>,
}

impl Told {
    /// Tells what a mapped field was, if it is the first time.
    pub(super) fn field(
        &self,
        route: usize,
        place: usize,
        kind: DriftKind,
        text: impl FnOnce() -> String,
    ) {
        let mut told = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < MOST_TOLD && told.insert((route, place, kind)) {
            tracing::warn!("{}; told once per run", text());
        }
    }

    fn new_field(&self, route: usize, table: &str, pointer: &str, fate: &str) {
        let mut told = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < MOST_TOLD && told.insert((route, pointer.to_owned())) {
            tracing::warn!(
                "route to {table}: the new field {pointer:.200} is {fate}; told once per run"
            );
        }
    }
}

/// Looks for fields that nobody names, for routes that want to know.
pub(super) struct Watch {
    known: Known,
    /// Route, table and policy.
    routes: Vec<(usize, String, NewFields)>,
}

/// What is known of a value.
#[derive(Debug, Default)]
struct Known {
    /// It is mapped, with all that is in it.
    whole: bool,
    members: Vec<(String, Known)>,
}

/// Of more new fields than this in one event the rest is not told.
const MOST_NEW: usize = 20;

impl Watch {
    /// `None` where no route wants to know. What any route of the type names is known.
    pub(super) fn new(
        catalog: &Catalog,
        routes: &[RoutePlan],
        split: Option<&str>,
    ) -> Option<Self> {
        let watching: Vec<_> = routes
            .iter()
            .filter_map(|route| Some((route.route, route.table.clone(), route.drift.new_fields?)))
            .collect();
        if watching.is_empty() {
            return None;
        }
        let columns = routes.iter().flat_map(|route| &route.columns);
        let mapped = columns.flat_map(|column| column.source.pointers());
        let listed = routes.iter().flat_map(|route| &route.drift.known).map(String::as_str);
        let envelope = catalog.envelope.iter().map(String::as_str);
        let mut known = Known::default();
        for pointer in mapped.chain(listed).chain(envelope).chain(split) {
            known.add(pointer);
        }
        Some(Self { known, routes: watching })
    }

    /// Notes and tells new fields; the reason where one of the routes does not want them.
    #[inline(never)]
    pub(super) fn look(
        &self,
        data: &str,
        told: &Told,
        event: usize,
        rows: &mut [RouteRows],
    ) -> Result<(), Reason> {
        let mut new = Vec::new();
        let look = Look { known: &self.known, at: String::new(), new: &mut new };
        // What is not JSON was let through by all routes, and has no fields.
        let _ = look.deserialize(&mut serde_json::Deserializer::from_str(data));
        if new.is_empty() {
            return Ok(());
        }
        let mut refused = None;
        for (route, table, policy) in &self.routes {
            rows[*route].note(event, DriftKind::NewField);
            let fate = match policy {
                NewFields::Ignore => "left alone",
                NewFields::AddColumn => "to have a column",
                NewFields::DeadLetter | NewFields::Fail => "refused",
            };
            new.iter().for_each(|pointer| told.new_field(*route, table, pointer, fate));
            if *policy != NewFields::Ignore {
                let fatal = *policy != NewFields::DeadLetter;
                let mut reason = refused.take().unwrap_or_else(|| {
                    let text = format!(
                        "{table}: no route names {:.500}; map it, or list it under known",
                        new.join(", ")
                    );
                    Reason::new("new_field", text)
                });
                reason.fatal |= fatal;
                if *policy == NewFields::AddColumn {
                    let table = table.clone();
                    let growth = |pointer: &String| Growth {
                        table: table.clone(),
                        pointer: pointer.clone(),
                    };
                    reason.grow.extend(new.iter().map(growth));
                }
                refused = Some(reason);
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

impl Known {
    fn add(&mut self, pointer: &str) {
        let mut known = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let place = known.members.iter().position(|(name, _)| *name == token);
            let at = place.unwrap_or_else(|| {
                known.members.push((token, Self::default()));
                known.members.len() - 1
            });
            known = &mut known.members[at].1;
        }
        known.whole = true;
    }
}

/// One value, on the way through the data.
struct Look<'a> {
    known: &'a Known,
    at: String,
    new: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.known.whole {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let token = name.replace('~', "~0").replace('/', "~1");
            let at = format!("{}/{token}", self.at);
            match self.known.members.iter().find(|(known, _)| *known == name) {
                Some((_, known)) => map.next_value_seed(Look { known, at, new: self.new })?,
                None => {
                    if self.new.len() < MOST_NEW && !self.new.contains(&at) {
                        self.new.push(at);
                    }
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    /// Of an array that a pointer reaches into, only the items that it names are looked at.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0usize.. {
            let name = index.to_string();
            let at = format!("{}/{name}", self.at);
            let nothing = Known { whole: true, members: Vec::new() };
            let known = self.known.members.iter().find(|(known, _)| *known == name);
            let known = known.map_or(&nothing, |(_, known)| known);
            if seq.next_element_seed(Look { known, at, new: self.new })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
