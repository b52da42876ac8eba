//! Query parameters, read strictly: what is not understood is refused by name.

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::header::RETRY_AFTER;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::store::{Entity, Error, Filter, SORTS, Site, Sort, chain};

/// The service types that the schema admits.
const SERVICES: [&str; 3] = ["delivery", "dine_in", "takeout"];
/// Codes of locations in one question.
const MOST_LOCATIONS: usize = 50;
/// What every filtered question understands.
pub(super) const FILTERS: &str = "minutes, location, service_type";

/// A refusal with a machine-readable code, a sentence for people and the parameter at fault.
#[derive(Debug)]
pub(super) struct Rejection {
    status: StatusCode,
    code: &'static str,
    message: String,
    parameter: Option<String>,
    header: Option<(HeaderName, &'static str)>,
}

impl Rejection {
    pub(super) fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.into(), parameter: None, header: None }
    }

    /// The refusal with a header that tells a client what to do.
    pub(super) fn with_header(self, name: HeaderName, value: &'static str) -> Self {
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

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Unreachable(_) => "database_unreachable",
            Error::Busy => "busy",
            Error::Slow => "database_slow",
            Error::Schema(_) => "schema_missing",
            Error::Refused(_) => "database_refused",
        };
        tracing::warn!("a question stayed without an answer: {}", chain(&error));
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, &error.to_string())
            .with_header(RETRY_AFTER, "2")
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let error = json!({
            "code": self.code,
            "parameter": self.parameter,
            "message": self.message,
        });
        let header = self.header.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let headers = HeaderMap::from_iter(header);
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
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Rejection> {
        let mut values = self.take_all(name);
        if values.len() > 1 {
            let message = format!("{name} is given more than once; give it once");
            return Err(Rejection::parameter("repeated_parameter", name, message));
        }
        Ok(values.pop())
    }

    fn take_all(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) =
            std::mem::take(&mut self.0).into_iter().partition(|(key, _)| key == name);
        self.0 = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// Refuses whatever nobody took.
    pub(super) fn finish(self, allowed: &str) -> Result<(), Rejection> {
        let Some((name, _)) = self.0.first() else {
            return Ok(());
        };
        let message = format!("unknown parameter {name:?}; allowed are {allowed}");
        Err(Rejection::parameter("unknown_parameter", name, message))
    }

    pub(super) fn number(
        &mut self,
        name: &str,
        usual: u32,
        largest: u32,
    ) -> Result<u32, Rejection> {
        let Some(text) = self.take(name)? else {
            return Ok(usual);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && (1..=largest).contains(&number) => Ok(number),
            _ => {
                let message = format!("{name} is {text:?}; give an integer from 1 to {largest}");
                Err(Rejection::invalid(name, message))
            }
        }
    }

    /// Window, sites and services. Codes are checked against the known `sites`, if any are known.
    pub(super) fn filter(&mut self, sites: &[Site]) -> Result<Filter, Rejection> {
        let minutes = self.number("minutes", 60, 1440)?;
        self.places(sites, minutes)
    }

    /// The same with a window that nobody chooses.
    pub(super) fn places(&mut self, sites: &[Site], minutes: u32) -> Result<Filter, Rejection> {
        let codes: Vec<&str> = sites.iter().map(|site| site.code.as_str()).collect();
        let locations = self.set("location", &codes)?;
        let service_types = self.set("service_type", &SERVICES)?;
        Ok(Filter { minutes, locations, service_types })
    }

    /// Words, repeated or separated by commas, sorted.
    fn set(&mut self, name: &str, allowed: &[&str]) -> Result<Vec<String>, Rejection> {
        let values = self.take_all(name);
        let mut words: Vec<String> =
            values.iter().flat_map(|value| value.split(',')).map(str::to_owned).collect();
        words.sort();
        words.dedup();
        for word in &words {
            if word.is_empty() || !allowed.is_empty() && !allowed.contains(&word.as_str()) {
                let message = format!("{name} has {word:?}; allowed are {}", allowed.join(", "));
                return Err(Rejection::invalid(name, message));
            }
        }
        if words.len() > MOST_LOCATIONS {
            let message =
                format!("{name} has {} values; give {MOST_LOCATIONS} at most", words.len());
            return Err(Rejection::invalid(name, message));
        }
        Ok(words)
    }

    /// One word of a closed list; the first where nothing is given.
    pub(super) fn choice<'a>(
        &mut self,
        name: &str,
        allowed: &[&'a str],
    ) -> Result<&'a str, Rejection> {
        let Some(text) = self.take(name)? else {
            return Ok(allowed[0]);
        };
        allowed.iter().find(|word| **word == text).copied().ok_or_else(|| {
            let message = format!("{name} is {text:?}; allowed are {}", allowed.join(", "));
            Rejection::invalid(name, message)
        })
    }

    /// A code such as those of dead letters. That none is open just now makes it no wrong one.
    pub(super) fn code(&mut self, name: &str) -> Result<Option<String>, Rejection> {
        let Some(text) = self.take(name)? else {
            return Ok(None);
        };
        let is_code =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if text.is_empty() || text.len() > 64 || !is_code(&text) {
            let message = format!("{name} is {text:?}; give a code like wrong_type");
            return Err(Rejection::invalid(name, message));
        }
        Ok(Some(text))
    }

    pub(super) fn entity(&mut self) -> Result<Entity, Rejection> {
        let words = Entity::ALL.map(Entity::as_str);
        let word = self.choice("by", &words)?;
        Ok(Entity::ALL
            .into_iter()
            .find(|entity| entity.as_str() == word)
            .unwrap_or(Entity::Location))
    }

    pub(super) fn sort(&mut self) -> Result<Sort, Rejection> {
        let Some(text) = self.take("sort")? else {
            return Ok(Sort { by: SORTS[0], descending: true });
        };
        let (descending, word) = match text.strip_prefix('-') {
            Some(word) => (true, word),
            None => (false, text.as_str()),
        };
        match SORTS.iter().find(|known| **known == word) {
            Some(by) => Ok(Sort { by, descending }),
            None => {
                let allowed = SORTS.join(", ");
                let message =
                    format!("sort is {text:?}; allowed are {allowed}, each also behind a minus");
                Err(Rejection::invalid("sort", message))
            }
        }
    }
}
