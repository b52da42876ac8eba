//! One route: which events, which table, which value for which column.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::column::{ColumnSpec, Source};
use super::is_pointer;

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
    /// Column to source.
    pub(crate) columns: BTreeMap<String, ColumnSpec>,
    /// What to do where a mapped field is not in the data. By default the column becomes null, or
    /// the event a dead letter where it cannot; nothing is counted.
    #[serde(default)]
    pub missing: Option<Missing>,
    /// What to do where a value does not fit its column. By default the event is a dead letter.
    #[serde(default)]
    pub mistyped: Option<Mistyped>,
    /// What to do where the data has fields that no route of the type and nothing in `known` names.
    #[serde(default)]
    pub new_fields: Option<NewFields>,
    /// Pointers to fields that are there and meant to be left alone.
    #[serde(default)]
    pub known: Vec<String>,
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

/// What to do where a mapped field is not in the data.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    Null,
    DeadLetter,
    Fail,
}

/// What to do where a value does not fit its column.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Mistyped {
    /// The column becomes null, where it can.
    Null,
    DeadLetter,
    Fail,
}

/// What to do where the data has fields that nobody names.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum NewFields {
    /// They are counted and told.
    Ignore,
    DeadLetter,
    Fail,
    /// The table gets a column for each, where the login owns it.
    AddColumn,
}

impl RouteSpec {
    pub(super) fn check(&self) -> Result<(), String> {
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
        if let Some(pointer) = self.known.iter().find(|pointer| !is_pointer(pointer)) {
            return Err(format!("known names {pointer:?}; use JSON pointers such as \"/payload\""));
        }
        Ok(())
    }

    /// Whether the run is to fail at some events of this route.
    pub(crate) fn may_fail(&self) -> bool {
        self.missing == Some(Missing::Fail)
            || self.mistyped == Some(Mistyped::Fail)
            || matches!(self.new_fields, Some(NewFields::Fail | NewFields::AddColumn))
    }

    /// Schema and table, where the name has exactly these two parts.
    pub(crate) fn split_table(&self) -> Option<(&str, &str)> {
        split_table(&self.table)
    }

    /// The route that lands every event of a stream in a table laid out as in `raw_table`.
    pub(crate) fn raw(table: &str) -> Self {
        let column = |name: &str, source| (name.to_owned(), ColumnSpec { source, form: None });
        Self {
            event: "*".into(),
            table: table.to_owned(),
            mode: Mode::Insert,
            key: vec!["epoch".into(), "event_offset".into()],
            parent: None,
            columns: BTreeMap::from([
                column("epoch", Source::Epoch),
                column("event_offset", Source::Id),
                column("sse_id", Source::SseId),
                column("event_type", Source::Event),
                column("data", Source::DataJson),
                column("data_text", Source::DataText),
            ]),
            missing: None,
            mistyped: None,
            new_fields: None,
            known: Vec::new(),
        }
    }
}

pub(crate) fn split_table(name: &str) -> Option<(&str, &str)> {
    let (schema, table) = name.split_once('.')?;
    (!schema.is_empty() && !table.is_empty() && !table.contains('.')).then_some((schema, table))
}
