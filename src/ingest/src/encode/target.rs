//! What a column takes: its kind, and how values are written where the kind alone does not say.

use std::sync::Arc;

use serde::de::IgnoredAny;

use super::{Json, Kind, Misfit, array, binary, epoch, is_string, put_null, string};
use crate::preset::Form;

/// What a column takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// Of the column, or of the items of its array.
    pub(crate) kind: Kind,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// Whatever the kind says.
    Plain,
    Formed(Form),
    /// An enum: its labels.
    Labels(Arc<[String]>),
    /// An array of items of this object id.
    Array {
        element: u32,
        items: Box<Target>,
    },
}

/// What the database's catalog says of a column's type.
pub(crate) struct TypeInfo {
    pub(crate) oid: u32,
    /// Of the items, for an array.
    pub(crate) element: Option<u32>,
    pub(crate) modifier: i32,
    /// Of an enum, or of an array's enum.
    pub(crate) labels: Option<Vec<String>>,
}

impl From<Kind> for Target {
    fn from(kind: Kind) -> Self {
        Self { kind, shape: Shape::Plain }
    }
}

impl Target {
    /// `None` where there is no conversion to the type. `info.oid` is that of the base type, of the
    /// items where it is an array.
    pub(crate) fn of(info: &TypeInfo) -> Option<Self> {
        let scalar = match &info.labels {
            Some(labels) => Self {
                kind: Kind::Text { max_chars: None },
                shape: Shape::Labels(labels.as_slice().into()),
            },
            None => Kind::of(info.oid, info.modifier)?.into(),
        };
        Some(match info.element {
            None => scalar,
            Some(element) => {
                Self { kind: scalar.kind, shape: Shape::Array { element, items: Box::new(scalar) } }
            }
        })
    }

    /// A text that holds any value.
    pub(crate) fn anything() -> Self {
        Self { kind: Kind::Text { max_chars: None }, shape: Shape::Formed(Form::Text) }
    }

    /// The same with values written in this form; an error in words where that makes no sense.
    pub(crate) fn formed(mut self, form: Form) -> Result<Self, String> {
        if let Shape::Array { items, .. } = &mut self.shape {
            **items = items.as_ref().clone().formed(form)?;
            return Ok(self);
        }
        let fits = self.shape == Shape::Plain
            && match form {
                Form::Text => matches!(self.kind, Kind::Text { .. }),
                Form::Number => matches!(
                    self.kind,
                    Kind::Int2
                        | Kind::Int4
                        | Kind::Int8
                        | Kind::Float4
                        | Kind::Float8
                        | Kind::Numeric { .. }
                ),
                Form::Json => matches!(self.kind, Kind::Json | Kind::Jsonb),
                Form::EpochS | Form::EpochMs | Form::EpochUs | Form::EpochNs => {
                    matches!(self.kind, Kind::Timestamptz | Kind::Timestamp | Kind::Date)
                }
                Form::Base64 | Form::Hex => self.kind == Kind::Bytea,
            };
        if !fits {
            return Err(format!("takes nothing written as {form}"));
        }
        self.shape = Shape::Formed(form);
        Ok(self)
    }

    /// What a preset must say before values can be put at all.
    pub(crate) fn lacks(&self) -> Option<&'static str> {
        match &self.shape {
            Shape::Array { items, .. } => items.lacks(),
            Shape::Plain if self.kind == Kind::Bytea => {
                Some("say how its bytes are written: as = \"base64\" or as = \"hex\"")
            }
            _ => None,
        }
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self.shape, Shape::Array { .. })
    }

    /// Whether it is just a column of its kind.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.shape, Shape::Plain)
    }

    /// Whether equal values of both have equal bytes.
    pub(crate) fn encodes_like(&self, other: &Self) -> bool {
        match (&self.shape, &other.shape) {
            (Shape::Array { element: a, .. }, Shape::Array { element: b, .. }) => a == b,
            (Shape::Array { .. }, _) | (_, Shape::Array { .. }) => false,
            _ => self.kind.encodes_like(other.kind),
        }
    }

    /// As [`Kind::put_json`].
    #[inline(always)]
    pub(crate) fn put_json(&self, out: &mut Vec<u8>, value: Json<'_>) -> Result<(), Misfit> {
        match &self.shape {
            Shape::Plain => self.kind.put_json(out, value),
            shape => self.put_shaped(shape, out, value),
        }
    }

    #[inline(never)]
    fn put_shaped(&self, shape: &Shape, out: &mut Vec<u8>, value: Json<'_>) -> Result<(), Misfit> {
        if value.text == "null" {
            put_null(out);
            return Ok(());
        }
        match shape {
            Shape::Plain => self.kind.put_json(out, value),
            Shape::Array { element, items } => array::put(out, value, *element, items),
            Shape::Labels(_) if !is_string(value.text) => {
                Err(Misfit::Type { needed: "a string with one of the enum's labels" })
            }
            Shape::Formed(Form::Text) if !is_string(value.text) => {
                self.kind.put_text(out, value.text)
            }
            Shape::Formed(Form::Json) if !is_string(value.text) => {
                Err(Misfit::Type { needed: "a string with JSON in it" })
            }
            Shape::Formed(
                Form::Number | Form::EpochS | Form::EpochMs | Form::EpochUs | Form::EpochNs,
            ) if !is_string(value.text) => self.put_text(out, value.text),
            Shape::Formed(Form::Base64 | Form::Hex) if !is_string(value.text) => {
                Err(Misfit::Type { needed: "a string with bytes" })
            }
            Shape::Labels(_) | Shape::Formed(_) => self.put_text(out, &string(value)?),
        }
    }

    /// As [`Kind::put_text`]; an array takes JSON text.
    pub(crate) fn put_text(&self, out: &mut Vec<u8>, text: &str) -> Result<(), Misfit> {
        match &self.shape {
            Shape::Plain => self.kind.put_text(out, text),
            Shape::Labels(labels) => {
                if !labels.iter().any(|label| label == text) {
                    return Err(Misfit::Range { why: "not a label of the enum" });
                }
                self.kind.put_text(out, text)
            }
            Shape::Array { element, items } => {
                if serde_json::from_str::<IgnoredAny>(text).is_err() {
                    return Err(Misfit::Type { needed: "JSON" });
                }
                array::put(out, text.trim().into(), *element, items)
            }
            Shape::Formed(form) => match form {
                Form::Text | Form::Json => self.kind.put_text(out, text),
                // Not by way of `put_text`, which would take a number for any literal.
                Form::Number if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                    self.kind.put_json(out, text)
                }
                Form::Number => Err(Misfit::Type { needed: "a number" }),
                Form::EpochS => epoch::put_epoch(out, self.kind, text, 6),
                Form::EpochMs => epoch::put_epoch(out, self.kind, text, 3),
                Form::EpochUs => epoch::put_epoch(out, self.kind, text, 0),
                Form::EpochNs => epoch::put_epoch(out, self.kind, text, -3),
                Form::Base64 => binary::put_base64(out, text),
                Form::Hex => binary::put_hex(out, text),
            },
        }
    }

    /// As [`Kind::put_integer`].
    pub(crate) fn put_integer(&self, out: &mut Vec<u8>, value: i64) -> Result<(), Misfit> {
        match &self.shape {
            Shape::Plain | Shape::Formed(Form::Text | Form::Number) => {
                self.kind.put_integer(out, value)
            }
            _ => self.put_text(out, &value.to_string()),
        }
    }

    /// As [`Kind::put_time`].
    pub(crate) fn put_time(&self, out: &mut Vec<u8>, time: jiff::Timestamp) -> Result<(), Misfit> {
        match &self.shape {
            Shape::Plain => self.kind.put_time(out, time),
            _ => self.put_text(out, &time.to_string()),
        }
    }
}
