//! One field of a row: from where its value comes, and the words where it cannot be made.

use std::borrow::Cow;

use super::{Incoming, Reason};
use crate::catalog::{Column, Drift, Source};
use crate::encode::{Json, Kind, Misfit, Target, is_jsonb, put_null, string};
use crate::preset::Missing;
use crate::selector::{Found, Selector};

/// An event with the values that were found in it.
pub(super) struct View<'a> {
    pub(super) incoming: &'a Incoming<'a>,
    pub(super) found: &'a Found,
    pub(super) is_json: bool,
}

/// How one field of a row is made.
pub(super) struct Put {
    origin: Origin,
    target: Target,
    required: bool,
    /// Whether the route has a say where the field is not there.
    watched: bool,
}

/// As [`Source`], with pointers resolved to slots.
enum Origin {
    Slot(usize),
    Id,
    SseId,
    Epoch,
    Event,
    ReceivedAt,
    Data,
    DataJson,
    DataText,
    /// JSON text.
    Const(String),
    Coalesce(Vec<Origin>),
    Join(Vec<Origin>, String),
    Lower(Box<Origin>),
}

/// A value on its way into a field.
enum Value<'a> {
    Json(Json<'a>),
    Text(Cow<'a, str>),
    Integer(i64),
    Time(jiff::Timestamp),
}

/// Why a field could not be made.
pub(super) enum Refusal {
    /// It has no value and needs one.
    Missing,
    /// It is not there, and null would do for the column.
    Absent,
    Misfit(Misfit),
}

impl Put {
    pub(super) fn new(column: &Column, drift: &Drift, selector: &mut Selector) -> Self {
        Self {
            origin: Origin::new(&column.source, selector),
            target: column.target.clone(),
            required: column.required,
            watched: drift.missing.is_some_and(|it| it != Missing::Null || !column.required),
        }
    }

    /// Whether it can be made of data that is not JSON.
    pub(super) fn takes_text(&self) -> bool {
        match &self.origin {
            Origin::Data => matches!(self.target.kind, Kind::Text { .. }) && self.target.is_plain(),
            origin => origin.takes_text(),
        }
    }

    /// The JSON that the field is made of, if it is made of any.
    #[inline(always)]
    pub(super) fn json<'a>(&self, view: &View<'a>) -> Option<Json<'a>> {
        let Origin::Slot(slot) = self.origin else { return None };
        view.json(slot)
    }

    /// Appends the field; where it is refused, nothing.
    #[inline(always)]
    pub(super) fn put(&self, view: &View<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let (target, incoming) = (&self.target, view.incoming);
        match &self.origin {
            Origin::Slot(slot) => match view.json(*slot) {
                None | Some(Json { text: "null", .. }) if self.required => {
                    return Err(Refusal::Missing);
                }
                None if self.watched => return Err(Refusal::Absent),
                None => {
                    put_null(out);
                    Ok(())
                }
                Some(json) => target.put_json(out, json),
            },
            Origin::Id => target.put_integer(out, incoming.id),
            Origin::Epoch => target.put_text(out, incoming.epoch),
            Origin::Event => target.put_text(out, incoming.event_type),
            Origin::ReceivedAt => target.put_time(out, incoming.received_at),
            Origin::Data => match target.kind {
                Kind::Text { .. } if target.is_plain() => target.put_text(out, incoming.data),
                _ => target.put_json(out, view.data()),
            },
            origin => return self.put_value(origin, view, out),
        }
        .map_err(Refusal::Misfit)
    }

    /// Appends what has to be looked at or put together first.
    #[inline(never)]
    fn put_value(
        &self,
        origin: &Origin,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let Some(value) = origin.value(view).map_err(Refusal::Misfit)? else {
            if self.required {
                return Err(Refusal::Missing);
            }
            if self.watched && !origin.takes_text() {
                return Err(Refusal::Absent);
            }
            put_null(out);
            return Ok(());
        };
        match value {
            Value::Json(json) => self.target.put_json(out, json),
            Value::Text(text) => self.target.put_text(out, &text),
            Value::Integer(number) => self.target.put_integer(out, number),
            Value::Time(time) => self.target.put_time(out, time),
        }
        .map_err(Refusal::Misfit)
    }
}

impl Origin {
    fn new(source: &Source, selector: &mut Selector) -> Self {
        let mut all = |sources: &[Source]| {
            sources.iter().map(|source| Self::new(source, selector)).collect::<Vec<_>>()
        };
        match source {
            Source::Coalesce(sources) => Self::Coalesce(all(sources)),
            Source::Join(sources, with) => Self::Join(all(sources), with.clone()),
            Source::Lower(source) => Self::Lower(Box::new(Self::new(source, selector))),
            Source::Pointer(pointer) => Self::Slot(selector.add(pointer)),
            Source::Id => Self::Id,
            Source::SseId => Self::SseId,
            Source::Epoch => Self::Epoch,
            Source::Event => Self::Event,
            Source::ReceivedAt => Self::ReceivedAt,
            Source::Data => Self::Data,
            Source::DataJson => Self::DataJson,
            Source::DataText => Self::DataText,
            Source::Const(json) => Self::Const(json.clone()),
        }
    }

    fn takes_text(&self) -> bool {
        match self {
            Self::Slot(_) | Self::Data => false,
            Self::Coalesce(parts) | Self::Join(parts, _) => parts.iter().all(Self::takes_text),
            Self::Lower(part) => part.takes_text(),
            _ => true,
        }
    }

    /// The value; `None` where it is missing or null.
    fn value<'a>(&'a self, view: &View<'a>) -> Result<Option<Value<'a>>, Misfit> {
        let incoming = view.incoming;
        let borrowed = |text: &'a str| Some(Value::Text(Cow::Borrowed(text)));
        Ok(match self {
            Self::Slot(slot) => {
                view.json(*slot).filter(|json| json.text != "null").map(Value::Json)
            }
            Self::Id => Some(Value::Integer(incoming.id)),
            Self::SseId => Some(incoming.sse_id).filter(|id| !id.is_empty()).and_then(borrowed),
            Self::Epoch => borrowed(incoming.epoch),
            Self::Event => borrowed(incoming.event_type),
            Self::ReceivedAt => Some(Value::Time(incoming.received_at)),
            Self::Data => Some(Value::Json(view.data())),
            Self::DataJson => view.holds_jsonb().then(|| Value::Json(view.data())),
            Self::DataText if view.holds_jsonb() => None,
            Self::DataText => borrowed(incoming.data),
            Self::Const(json) => Some(Value::Json(json.as_str().into())),
            Self::Coalesce(parts) => {
                for part in parts {
                    if let Some(value) = part.value(view)? {
                        return Ok(Some(value));
                    }
                }
                None
            }
            Self::Join(parts, with) => {
                let mut joined = String::new();
                for (place, part) in parts.iter().enumerate() {
                    let Some(value) = part.value(view)? else { return Ok(None) };
                    if place > 0 {
                        joined.push_str(with);
                    }
                    joined.push_str(&value.text()?);
                }
                Some(Value::Text(joined.into()))
            }
            Self::Lower(part) => match part.value(view)? {
                Some(value) => Some(Value::Text(value.text()?.to_lowercase().into())),
                None => None,
            },
        })
    }
}

impl<'a> Value<'a> {
    fn text(self) -> Result<Cow<'a, str>, Misfit> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Integer(number) => Ok(number.to_string().into()),
            Self::Time(time) => Ok(time.to_string().into()),
            Self::Json(json) => match json.text.as_bytes().first() {
                Some(b'"') => string(json),
                Some(b'{' | b'[') => Err(Misfit::Type { needed: "strings, numbers or booleans" }),
                _ => Ok(Cow::Borrowed(json.text)),
            },
        }
    }
}

impl<'a> View<'a> {
    #[inline(always)]
    fn json(&self, slot: usize) -> Option<Json<'a>> {
        let text = self.found.get(self.incoming.data, slot)?;
        Some(Json { text, plain: self.found.is_plain() })
    }

    /// The whole data as JSON.
    fn data(&self) -> Json<'a> {
        Json { text: self.incoming.data.trim(), plain: self.found.is_plain() }
    }

    fn holds_jsonb(&self) -> bool {
        self.is_json && is_jsonb(self.data())
    }
}

impl Refusal {
    /// The same in words; `json` is what was found for the column.
    #[cold]
    pub(super) fn reason(&self, column: &Column, json: Option<&str>) -> Reason {
        let (name, source) = (&column.name, &column.source);
        let got = match source {
            Source::Pointer(_) => json.map_or("", json_kind),
            Source::Id => "the offset",
            Source::SseId => "the id",
            Source::Epoch => "the epoch",
            Source::Event => "the event type",
            Source::ReceivedAt => "the receive time",
            Source::Data | Source::DataJson | Source::DataText => "the data",
            Source::Const(_) => "a constant",
            Source::Coalesce(_) | Source::Join(..) | Source::Lower(_) => "something else",
        };
        match self {
            Self::Missing => Reason::new(
                "missing_field",
                format!("column {name:?} needs a value, but {source} is missing or null"),
            ),
            Self::Absent => {
                Reason::new("missing_field", format!("column {name:?}: {source} is missing"))
            }
            Self::Misfit(Misfit::Type { needed }) => {
                Reason::new("wrong_type", format!("column {name:?} needs {needed}, got {got}"))
            }
            Self::Misfit(Misfit::Item { needed }) => Reason::new(
                "wrong_type",
                format!("column {name:?}: an item of the array is not {needed}"),
            ),
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
