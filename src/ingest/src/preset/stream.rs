//! The stream's own conventions: where ids and types stand, what holes in the ids mean.

use serde::Deserialize;

use super::is_pointer;
use crate::error::Error;

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

impl StreamSpec {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.name.is_empty() {
            return Err(Error::config("preset: stream.name is empty; give the stream a name"));
        }
        for (what, place) in [("stream.id", &self.id), ("stream.type", &self.event_type)] {
            if place != "sse" && !is_pointer(place) {
                return Err(Error::config(format!(
                    "preset {:?}: {what} is {place:?}; use \"sse\" or a JSON pointer such as \"/id\"",
                    self.name
                )));
            }
        }
        if let Some(split) = &self.split
            && !is_pointer(split)
        {
            return Err(Error::config(format!(
                "preset {:?}: stream.split is {split:?}; use a JSON pointer such as \"/order/id\"",
                self.name
            )));
        }
        Ok(())
    }
}
