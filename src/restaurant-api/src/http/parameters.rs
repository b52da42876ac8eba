//! Query parameters and headers, read strictly: what is not understood is refused by name.

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::filter::Filter;
use crate::simulator::{EventType, sites};
use crate::wire::{TIMESTAMP_LEN, timestamp};

/// A refusal with a machine-readable code, a sentence for people and the parameter at fault.
#[derive(Debug)]
pub(super) struct Rejection {
    status: StatusCode,
    code: &'static str,
    message: String,
    parameter: Option<String>,
    header: Option<(&'static str, &'static str)>,
}

impl Rejection {
    pub(super) fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.into(), parameter: None, header: None }
    }

    /// The refusal with a header (its name in lower case) that tells a client what to do.
    pub(super) fn with_header(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    fn parameter(code: &'static str, parameter: &str, message: String) -> Self {
        let rejection = Self::new(StatusCode::BAD_REQUEST, code, &message);
        Self { parameter: Some(parameter.into()), ..rejection }
    }

    pub(super) fn invalid(parameter: &str, message: String) -> Self {
        Self::parameter("invalid_parameter", parameter, message)
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let error = json!({
            "code": self.code,
            "message": self.message,
            "parameter": self.parameter,
        });
        let headers = self
            .header
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers = HeaderMap::from_iter(headers);
        (self.status, headers, Json(json!({ "error": error }))).into_response()
    }
}

/// The query of a request, taken apart parameter by parameter.
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(error) => {
                let message = format!("the query string cannot be read: {error}");
                Err(Rejection::new(StatusCode::BAD_REQUEST, "invalid_query", &message))
            }
        }
    }
}

impl Parameters {
    /// Takes a parameter out; given twice, it is refused.
    fn take(&mut self, name: &str) -> Result<Option<String>, Rejection> {
        let Some(at) = self.0.iter().position(|(key, _)| key == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.remove(at);
        if self.0.iter().any(|(key, _)| key == name) {
            let message = format!("{name} is given more than once; give it once");
            return Err(Rejection::parameter("repeated_parameter", name, message));
        }
        Ok(Some(value))
    }

    /// Refuses whatever nobody took.
    pub(super) fn finish(self, allowed: &str) -> Result<(), Rejection> {
        let Some((name, _)) = self.0.first() else {
            return Ok(());
        };
        let message = format!("unknown parameter {name:?}; allowed are {allowed}");
        Err(Rejection::parameter("unknown_parameter", name, message))
    }

    pub(super) fn offset(&mut self, name: &str) -> Result<Option<u64>, Rejection> {
        self.take(name)?.map(|text| offset(name, &text)).transpose()
    }

    pub(super) fn limit(&mut self) -> Result<usize, Rejection> {
        match self.take("limit")? {
            None => Ok(1000),
            Some(text) => match text.parse() {
                Ok(limit @ 1..=5000) => Ok(limit),
                _ => {
                    let message = format!("limit is {text:?}; give an integer from 1 to 5000");
                    Err(Rejection::invalid("limit", message))
                }
            },
        }
    }

    pub(super) fn filter(&mut self) -> Result<Filter, Rejection> {
        let types = EventType::ALL.map(EventType::as_str);
        let codes: Vec<_> = sites().iter().map(|site| site.code.as_str()).collect();
        let sites = self.set("locations", &codes)? & self.shard(codes.len())?;
        Ok(Filter { types: self.set("types", &types)?, sites })
    }

    /// `i/n`: the sites whose place in the list leaves `i` when divided by `n`, so that every
    /// partition key is in exactly one of `n` shards; all of them if it is not given.
    fn shard(&mut self, sites: usize) -> Result<u32, Rejection> {
        let Some(text) = self.take("shard")? else {
            return Ok(u32::MAX);
        };
        let number = |text: &str| text.parse::<usize>().ok().filter(|n| n.to_string() == text);
        let parts = text.split_once('/').map(|(shard, of)| (number(shard), number(of)));
        match parts {
            Some((Some(shard), Some(of))) if shard < of && of <= sites => {
                Ok((shard..sites).step_by(of).fold(0, |bits, site| bits | 1 << site))
            }
            _ => {
                let message = format!(
                    "shard is {text:?}; give i/n with i from 0 to n - 1 and n from 1 to {sites}"
                );
                Err(Rejection::invalid("shard", message))
            }
        }
    }

    /// A comma-separated list as a set of bits; everything if it is not given.
    fn set(&mut self, name: &str, allowed: &[&str]) -> Result<u32, Rejection> {
        let Some(text) = self.take(name)? else {
            return Ok(u32::MAX);
        };
        let mut bits = 0;
        for word in text.split(',') {
            let Some(index) = allowed.iter().position(|known| *known == word) else {
                let allowed = allowed.join(", ");
                let message = format!("{name} has {word:?}; allowed are {allowed}");
                return Err(Rejection::invalid(name, message));
            };
            bits |= 1 << index;
        }
        Ok(bits)
    }

    pub(super) fn until(&mut self) -> Result<Option<Until>, Rejection> {
        let Some(text) = self.take("until")? else {
            return Ok(None);
        };
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return offset("until", &text).map(|offset| Some(Until::Offset(offset)));
        }
        // A plus sign that was not percent-encoded arrives as a space.
        let time = chrono::DateTime::parse_from_rfc3339(&text.replace(' ', "+"));
        match time {
            Ok(time) => Ok(Some(Until::Time(timestamp(time.timestamp_micros())))),
            Err(_) => {
                let message = format!(
                    "until is {text:?}; give an offset or a time like 2026-01-31T18:00:00Z"
                );
                Err(Rejection::invalid("until", message))
            }
        }
    }
}

/// An offset from text: decimal digits, nothing else.
pub(super) fn offset(name: &str, text: &str) -> Result<u64, Rejection> {
    // Half the range, so that positions can be counted on from any of them.
    let valid = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|n| valid && *n <= i64::MAX as u64);
    number.ok_or_else(|| {
        let message = format!("{name} is {text:?}; give an offset, an integer from 0");
        Rejection::invalid(name, message)
    })
}

/// Where a stream ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// With this offset.
    Offset(u64),
    /// With the last event that is not later than this.
    Time([u8; TIMESTAMP_LEN]),
}
