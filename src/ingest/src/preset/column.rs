//! Where a column's value comes from: a closed set of sources, not a language.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::is_pointer;

/// What a preset says of one column: a source as text, or a table such as
/// `{ from = "/at", as = "epoch_ms" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnSpec {
    pub(crate) source: Source,
    /// How the value is written, where neither JSON nor the column's type says it.
    pub(crate) form: Option<Form>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A JSON pointer into the data.
    Pointer(String),
    /// The integer offset.
    Id,
    /// The id as the source wrote it.
    SseId,
    Epoch,
    Event,
    ReceivedAt,
    /// The data; JSON where the column is `json` or `jsonb`.
    Data,
    /// The data where it is JSON that `jsonb` can hold, else null.
    DataJson,
    /// The data where it is no such JSON, else null.
    DataText,
    /// JSON text.
    Const(String),
    /// The first of these that is there and not null.
    Coalesce(Vec<Source>),
    /// The texts of all of these with a text between; null where one is missing.
    Join(Vec<Source>, String),
    /// The text in lower case.
    Lower(Box<Source>),
}

/// How a value is written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// Any JSON value as text: a string's content, a number's digits, `true`, or JSON text.
    Text,
    /// A number, also as a string.
    Number,
    /// JSON text within a string.
    Json,
    /// Seconds, milliseconds, microseconds or nanoseconds since 1970 (UTC), as number or string.
    EpochS,
    EpochMs,
    EpochUs,
    EpochNs,
    /// Bytes in a string.
    Base64,
    Hex,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Json => "json",
            Self::EpochS => "epoch_s",
            Self::EpochMs => "epoch_ms",
            Self::EpochUs => "epoch_us",
            Self::EpochNs => "epoch_ns",
            Self::Base64 => "base64",
            Self::Hex => "hex",
        })
    }
}

/// The fields of an event that are no part of its data.
const FIELDS: [(&str, Source); 8] = [
    ("$id", Source::Id),
    ("$sse_id", Source::SseId),
    ("$epoch", Source::Epoch),
    ("$event", Source::Event),
    ("$received_at", Source::ReceivedAt),
    ("$data", Source::Data),
    ("$json", Source::DataJson),
    ("$text", Source::DataText),
];

impl Source {
    /// A JSON pointer or the name of a field.
    fn parse(text: &str) -> Result<Self, String> {
        if is_pointer(text) {
            return Ok(Self::Pointer(text.to_owned()));
        }
        match FIELDS.iter().find(|(name, _)| *name == text) {
            Some((_, source)) => Ok(source.clone()),
            None => Err(format!(
                "the source {text:?} is unknown; use a JSON pointer such as \"/payload/id\" or one of {}",
                FIELDS.map(|(name, _)| name).join(", ")
            )),
        }
    }

    /// The pointers that this looks at.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        match self {
            Self::Pointer(pointer) => vec![pointer],
            Self::Coalesce(sources) | Self::Join(sources, _) => {
                sources.iter().flat_map(Self::pointers).collect()
            }
            Self::Lower(source) => source.pointers(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |sources: &[Self]| {
            sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Pointer(pointer) if pointer.is_empty() => f.write_str("the data"),
            Self::Pointer(pointer) => f.write_str(pointer),
            Self::Const(json) => write!(f, "the constant {json}"),
            Self::Coalesce(sources) => write!(f, "each of {}", list(sources)),
            Self::Join(sources, _) => write!(f, "one of {}", list(sources)),
            Self::Lower(source) => source.fmt(f),
            field => {
                let name = FIELDS.iter().find(|(_, source)| source == field);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

impl<'de> Deserialize<'de> for ColumnSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = ColumnSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a source as text, or a table with one of from, const, coalesce, join, lower",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ColumnSpec, E> {
                let source = Source::parse(text).map_err(E::custom)?;
                Ok(ColumnSpec { source, form: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ColumnSpec, A::Error> {
                Table::deserialize(de::value::MapAccessDeserializer::new(map))?
                    .read()
                    .map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The long form of a column.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    from: Option<String>,
    #[serde(rename = "const")]
    constant: Option<toml::Value>,
    coalesce: Option<Vec<ColumnSpec>>,
    join: Option<Vec<ColumnSpec>>,
    lower: Option<Box<ColumnSpec>>,
    #[serde(rename = "as")]
    form: Option<Form>,
    with: Option<String>,
}

impl Table {
    fn read(self) -> Result<ColumnSpec, String> {
        let Self { from, constant, coalesce, join, lower, form, with } = self;
        let with_join = join.is_some();
        let sources = [
            from.map(|text| Source::parse(&text)),
            constant.map(|value| json(value).map(|json| Source::Const(json.to_string()))),
            coalesce.map(|specs| parts("coalesce", specs, true).map(Source::Coalesce)),
            join.map(|specs| {
                Ok(Source::Join(parts("join", specs, true)?, with.clone().unwrap_or_default()))
            }),
            lower.map(|spec| {
                let mut parts = parts("lower", vec![*spec], false)?;
                parts.pop().map(|source| Source::Lower(Box::new(source))).ok_or_else(String::new)
            }),
        ];
        if with.is_some() && !with_join {
            return Err("`with` is the text between the parts of a join; use it there".into());
        }
        let mut given = sources.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(source), None) => Ok(ColumnSpec { source: source?, form }),
            _ => Err("a column's table needs one of from, const, coalesce, join, lower".into()),
        }
    }
}

/// What is put together: pointers, fields and, for `constants`, constants.
fn parts(of: &str, specs: Vec<ColumnSpec>, constants: bool) -> Result<Vec<Source>, String> {
    if specs.is_empty() {
        return Err(format!("{of} is empty; name what it is made of"));
    }
    let parts = specs.into_iter().map(|spec| match spec {
        ColumnSpec { form: Some(_), .. } => {
            Err(format!("`as` within {of} has no meaning; put it beside {of}"))
        }
        ColumnSpec {
            source: Source::Coalesce(_) | Source::Join(..) | Source::Lower(_), ..
        } => Err(format!("{of} takes pointers, fields and constants, not what is put together")),
        ColumnSpec { source: Source::Const(_), .. } if !constants => {
            Err(format!("{of} of a constant is a constant; write it so"))
        }
        ColumnSpec { source, .. } => Ok(source),
    });
    parts.collect()
}

/// A constant of the preset as JSON.
fn json(value: toml::Value) -> Result<serde_json::Value, String> {
    use serde_json::Value;
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .map(Value::Number)
            .ok_or("the constant is no number that JSON knows")?,
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => {
            Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| Ok((name, json(value)?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}
