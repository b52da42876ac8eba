//! The stream's own conventions: where ids, types and times stand, what ids are worth, which events
//! are no data, and what the source can send again.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::is_pointer;
use crate::error::Error;

/// The conventions of the stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// The name under which offsets, dead letters and runs are kept.
    pub name: String,
    /// Where the id stands: `sse` (the `id:` field) or a JSON pointer.
    #[serde(default = "sse_field")]
    pub id: String,
    /// What ids are: offsets themselves, or texts, or not there.
    #[serde(default)]
    pub ids: Ids,
    /// How a request says where to go on: `last-event-id`, or `{ query = "since" }`.
    #[serde(default)]
    pub resume: ResumeBy,
    /// What the source can send again; without it derived from `ids`.
    #[serde(default)]
    pub resume_class: Option<ResumeClass>,
    /// Whether a response that ends is asked for again.
    #[serde(default)]
    pub reconnect: Reconnect,
    /// Where the event type stands: `sse` (the `event:` field) or a JSON pointer.
    #[serde(rename = "type", default = "sse_field")]
    pub event_type: String,
    /// JSON pointer to the time of an event: ISO 8601, or a number of seconds, milliseconds or
    /// microseconds since 1970.
    #[serde(default)]
    pub time: Option<String>,
    /// How far behind others an event's time may come, in seconds.
    #[serde(default)]
    pub lateness_seconds: f64,
    /// How a request says from which time on it wants events.
    #[serde(default)]
    pub since: Option<SinceSpec>,
    /// Types of events that are no data, such as greetings and signs of life.
    #[serde(default)]
    pub control: Vec<String>,
    /// The whole data, as text or as a JSON string, of events that are no data.
    #[serde(default)]
    pub control_data: Vec<String>,
    /// The data, as `control_data`, with which the source says that all has been said.
    #[serde(default)]
    pub done: Option<String>,
    /// By JSON pointer: the value that makes an event no data.
    #[serde(default)]
    pub drop_when: BTreeMap<String, Scalar>,
    /// Response header that names the history the offsets belong to.
    #[serde(default)]
    pub epoch_header: Option<String>,
    /// Response header that names the id after which the response begins.
    #[serde(default)]
    pub anchor_header: Option<String>,
    /// Response header that names the newest offset of the source.
    #[serde(default)]
    pub head_header: Option<String>,
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

/// A query parameter for the time from which on events are wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinceSpec {
    pub query: String,
    #[serde(default)]
    pub format: TimeFormat,
}

/// How a time is written in a request.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// ISO 8601 in UTC.
    #[default]
    Iso,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
}

fn sse_field() -> String {
    "sse".into()
}

/// What the ids of a stream are.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Ids {
    /// Growing integers, up to 2^63 - 1: they are the offsets.
    #[default]
    Integer,
    /// Texts without an order. Offsets are counted here; the text is the token to resume from.
    Text,
    /// Nothing is known of them: texts to resume from where an event has one. Offsets are counted.
    Any,
    /// There are none. Offsets are counted here, and nothing can be resumed.
    None,
}

impl Ids {
    /// Whether offsets are our own count.
    pub(crate) fn are_counted(self) -> bool {
        self != Self::Integer
    }
}

/// How a request says where to go on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum ResumeBy {
    #[default]
    #[serde(skip)]
    Default,
    Header(HeaderName),
    Query(QueryName),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum HeaderName {
    #[serde(rename = "last-event-id")]
    LastEventId,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct QueryName {
    query: String,
}

/// What a source can send again.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ResumeClass {
    /// Everything, from any id on.
    Replayable,
    /// What followed an id not too long ago.
    Window,
    /// Nothing: who does not listen misses it.
    None,
}

impl ResumeClass {
    /// The name used in presets and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayable => "replayable",
            Self::Window => "window",
            Self::None => "none",
        }
    }

    /// What can be promised for such a stream, in a few words.
    pub fn guarantee(self) -> &'static str {
        match self {
            Self::Replayable => "exactly once",
            Self::Window => "exactly once within what the source can still send",
            Self::None => "what is read lands once; what is sent while nobody listens is lost",
        }
    }
}

/// Whether a response that ends is asked for again.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Reconnect {
    #[default]
    Always,
    /// The end of the response is the end of the run.
    Never,
}

/// Whether offsets have no holes (`dense`) or may have (`sparse`).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Offsets {
    Dense,
    #[default]
    Sparse,
}

/// A plain value of a preset.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Scalar {
    Truth(bool),
    Integer(i64),
    Text(String),
}

/// As in JSON, but for the quotes of a text.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth(truth) => truth.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl StreamSpec {
    /// Pointers into the data at which the stream itself looks, and that are no news to any route.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let places = [Some(&self.id), Some(&self.event_type), self.time.as_ref()];
        let places = places.into_iter().flatten().chain(self.drop_when.keys());
        places.filter(|place| is_pointer(place)).cloned().collect()
    }

    /// What the source can send again, as declared or as far as its ids tell.
    pub fn class(&self) -> ResumeClass {
        let derived = match self.ids {
            Ids::None => ResumeClass::None,
            // Nobody has said that it can send anything again.
            Ids::Any => ResumeClass::Window,
            Ids::Integer | Ids::Text => ResumeClass::Replayable,
        };
        self.resume_class.unwrap_or(derived)
    }

    /// How requests say where to go on.
    pub(crate) fn resume(&self) -> sse::Resume {
        match &self.resume {
            _ if self.ids == Ids::None => sse::Resume::Never,
            ResumeBy::Default | ResumeBy::Header(_) => sse::Resume::Header,
            ResumeBy::Query(QueryName { query }) => sse::Resume::Query(query.clone()),
        }
    }

    /// Whether ids stand in the data, where the client does not see them.
    pub(crate) fn hides_ids(&self) -> bool {
        self.id != "sse" && self.ids != Ids::None
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.name.is_empty() {
            return Err(Error::config("preset: stream.name is empty; give the stream a name"));
        }
        let wrong = |what: String| Err(Error::config(format!("preset {:?}: {what}", self.name)));
        for (what, place) in [("id", &self.id), ("type", &self.event_type)] {
            if place != "sse" && !is_pointer(place) {
                return wrong(format!(
                    "stream.{what} is {place:?}; use \"sse\" or a JSON pointer such as \"/id\""
                ));
            }
        }
        let pointers = [("split", &self.split), ("time", &self.time)];
        let pointers =
            pointers.into_iter().filter_map(|(what, place)| Some((what, place.as_ref()?)));
        for (what, place) in pointers.chain(self.drop_when.keys().map(|place| ("drop_when", place)))
        {
            if !is_pointer(place) {
                return wrong(format!(
                    "stream.{what} is {place:?}; use a JSON pointer such as \"/order/id\""
                ));
            }
        }
        if !(0.0..=86_400.0).contains(&self.lateness_seconds) {
            return wrong("stream.lateness_seconds is no number from 0 to 86400".into());
        }
        if self.ids.are_counted() {
            let integers = [
                ("offsets = \"dense\"", self.offsets == Offsets::Dense),
                ("pages", self.pages.is_some()),
                ("head_header", self.head_header.is_some()),
            ];
            if let Some((what, _)) = integers.into_iter().find(|(_, set)| *set) {
                return wrong(format!(
                    "stream.{what} needs integer ids; remove it or set ids = \"integer\""
                ));
            }
        }
        if self.ids == Ids::None {
            let resumes = self.resume_class.is_some_and(|class| class != ResumeClass::None);
            if resumes || self.resume != ResumeBy::Default {
                return wrong(
                    "nothing can be resumed without ids; remove resume and resume_class".into(),
                );
            }
        }
        Ok(())
    }
}
