//! One route: which events, which table, which value for which column.

use std::collections::BTreeMap;

use serde::Deserialize;

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
