//! Presets: which event goes into which table, as data. Checked here for sense within itself and
//! in `catalog` against the real tables.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::Error;

/// One feed: the stream's conventions and its routes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    pub stream: StreamSpec,
    #[serde(rename = "route", default)]
    pub routes: Vec<RouteSpec>,
}

/// The conventions of the stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// The name under which offsets, dead letters and runs are kept.
    pub name: String,
    /// Where the integer offset stands: `sse` (the `id:` field) or a JSON pointer.
    #[serde(default = "sse_field")]
    pub id: String,
    /// Where the event type stands: `sse` (the `event:` field) or a JSON pointer.
    #[serde(rename = "type", default = "sse_field")]
    pub event_type: String,
    /// Response header that names the history the offsets belong to.
    #[serde(default)]
    pub epoch_header: Option<String>,
    /// Response header that names the id after which the response begins.
    #[serde(default)]
    pub anchor_header: Option<String>,
    /// Whether offsets have no holes.
    #[serde(default)]
    pub offsets: Offsets,
    /// Pointer whose value decides which writer takes an event.
    #[serde(default)]
    pub split: Option<String>,
    /// Event type with which the source itself says that events were missed.
    #[serde(default)]
    pub gap_event: Option<String>,
    /// Query parameters of the URL that select events: with one of them set, holes in dense
    /// offsets are no loss.
    #[serde(default)]
    pub filters: Vec<String>,
    /// How pages of the feed's REST twin are laid out.
    #[serde(default)]
    pub pages: Option<PagesSpec>,
}

/// The layout of a page of the feed's REST twin (`GET ?since=<id>&limit=<n>`): pointers into the
/// page for the list of events, and into each event for its id and type.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagesSpec {
    pub events: String,
    pub id: String,
    #[serde(rename = "type")]
    pub event_type: String,
}

fn sse_field() -> String {
    "sse".into()
}

/// Whether offsets have no holes (`dense`) or may have (`sparse`).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Offsets {
    Dense,
    #[default]
    Sparse,
}

/// Where one kind of event goes. Several routes may take the same event.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Event type, or `*` for every type.
    pub event: String,
    /// `schema.table`.
    pub table: String,
    pub mode: Mode,
    /// Columns that identify a row; a unique constraint of the table. Empty only for `append`.
    #[serde(default)]
    pub key: Vec<String>,
    /// Table that must hold the parent row, through the foreign key between the two.
    #[serde(default)]
    pub parent: Option<String>,
    /// Column to source: a JSON pointer into the data, or `$id`, `$epoch`, `$event`,
    /// `$received_at`, `$data`.
    pub columns: BTreeMap<String, String>,
}

/// What a route does with its row.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A new row; the same row again is a duplicate, the same key with other content a conflict.
    Insert,
    /// Completes a row that another route inserted: fills columns that are still null. Another
    /// value already there is a conflict.
    Update,
    /// A new row, or new values for the row with that key.
    Upsert,
    /// A new row without a key; never for events at or below the stored high-water mark.
    Append,
}

impl Preset {
    /// Reads a preset from TOML text. Unknown keys, unknown modes and routes that contradict
    /// themselves are `Config` errors that name the route.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let preset: Self = toml::from_str(text)
            .map_err(|error| Error::config(format!("preset is not valid: {}", one_line(&error))))?;
        preset.check()?;
        Ok(preset)
    }

    fn check(&self) -> Result<(), Error> {
        let stream = &self.stream;
        if stream.name.is_empty() {
            return Err(Error::config("preset: stream.name is empty; give the stream a name"));
        }
        for (what, place) in [("stream.id", &stream.id), ("stream.type", &stream.event_type)] {
            if place != "sse" && !is_pointer(place) {
                return Err(Error::config(format!(
                    "preset {:?}: {what} is {place:?}; use \"sse\" or a JSON pointer such as \"/id\"",
                    stream.name
                )));
            }
        }
        if let Some(split) = &stream.split
            && !is_pointer(split)
        {
            return Err(Error::config(format!(
                "preset {:?}: stream.split is {split:?}; use a JSON pointer such as \"/order/id\"",
                stream.name
            )));
        }
        for route in &self.routes {
            route.check().map_err(|problem| {
                Error::config(format!(
                    "preset {:?}, route {:?} to {:?}: {problem}",
                    stream.name, route.event, route.table
                ))
            })?;
        }
        Ok(())
    }
}

impl RouteSpec {
    fn check(&self) -> Result<(), String> {
        if self.event.is_empty() {
            return Err("event is empty; name the type or use \"*\"".into());
        }
        if self.split_table().is_none() {
            return Err("table must be written as \"schema.table\"".into());
        }
        if self.columns.is_empty() {
            return Err("columns are empty; map at least one".into());
        }
        match (self.mode, self.key.is_empty()) {
            (Mode::Append, false) => {
                return Err("append takes no key; remove it or use insert".into());
            }
            (Mode::Append, true) | (_, false) => {}
            (_, true) => return Err("key is missing; name the columns that identify a row".into()),
        }
        if let Some(column) = self.key.iter().find(|column| !self.columns.contains_key(*column)) {
            return Err(format!("key column {column:?} is not among the mapped columns"));
        }
        if self.mode == Mode::Update && self.columns.len() == self.key.len() {
            return Err("update maps only key columns; map what it should fill".into());
        }
        for (column, source) in &self.columns {
            let known =
                matches!(source.as_str(), "$id" | "$epoch" | "$event" | "$received_at" | "$data");
            if !known && !is_pointer(source) {
                return Err(format!(
                    "column {column:?} has the source {source:?}; use a JSON pointer such as \
                     \"/payload/id\" or one of $id, $epoch, $event, $received_at, $data"
                ));
            }
        }
        Ok(())
    }

    /// Schema and table, where the name has exactly these two parts.
    pub(crate) fn split_table(&self) -> Option<(&str, &str)> {
        split_table(&self.table)
    }
}

pub(crate) fn split_table(name: &str) -> Option<(&str, &str)> {
    let (schema, table) = name.split_once('.')?;
    (!schema.is_empty() && !table.is_empty() && !table.contains('.')).then_some((schema, table))
}

fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

fn one_line(error: &toml::de::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [stream]
        name = "s"
        [[route]]
        event = "a"
        table = "x.t"
        mode = "insert"
        key = ["id"]
        columns = { id = "/id", at = "$received_at" }
    "#;

    fn message(text: &str) -> String {
        Preset::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_small_preset_gets_the_defaults() {
        let preset = Preset::parse(GOOD).unwrap();
        assert_eq!(preset.stream.id, "sse");
        assert_eq!(preset.stream.offsets, Offsets::Sparse);
        assert_eq!(preset.routes[0].mode, Mode::Insert);
    }

    #[test]
    fn mistakes_name_the_route_and_the_cause() {
        for (from, to, part) in [
            ("name = \"s\"", "name = \"s\"\nnmae = 1", "nmae"),
            ("mode = \"insert\"", "mode = \"merge\"", "merge"),
            ("x.t", "t", "schema.table"),
            ("key = [\"id\"]", "", "key is missing"),
            ("key = [\"id\"]", "key = [\"no\"]", "\"no\""),
            ("mode = \"insert\"", "mode = \"append\"", "append takes no key"),
            ("\"/id\"", "\"id\"", "JSON pointer"),
            ("$received_at", "$now", "$now"),
        ] {
            let text = GOOD.replace(from, to);
            assert!(message(&text).contains(part), "{part}: {}", message(&text));
        }
    }
}
