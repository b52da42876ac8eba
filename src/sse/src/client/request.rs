//! What is asked of which server, and how URLs are shown to people.

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, USER_AGENT,
};
use reqwest::{Method, Request, Url};

use super::config::Resume;
use super::transport::Transport;
use super::{ClientConfig, Error, ErrorKind};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What may follow a redirect to another origin. Any other header may be a credential.
const HARMLESS: [HeaderName; 5] =
    [ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT];

/// A request but for the last event id.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: Url,
    method: Method,
    headers: HeaderMap,
    body: Option<Bytes>,
    resume: Resume,
    start: Option<(String, String)>,
    /// Whether a redirect has led to another origin than the configuration names.
    pub(super) is_elsewhere: bool,
}

impl Target {
    pub(super) fn new(config: &ClientConfig, http: &Transport) -> Result<Target, Error> {
        let url = parse_url(&config.url)?;
        let at = shown(&url);
        let invalid = |what: String| Error::new(ErrorKind::Config, format!("{at}: {what}"));

        let method = Method::from_bytes(config.method.as_bytes())
            .map_err(|_| invalid("the request method is not a valid word; use GET".to_owned()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let wrong = |why: &str| invalid(format!("request header {name:?} {why}"));
            let key: HeaderName = name
                .parse()
                .map_err(|_| wrong("has a name that http does not allow; correct it"))?;
            let value = HeaderValue::from_str(value)
                .map_err(|_| wrong("has a value that http does not allow; correct it"))?;
            if key == LAST_EVENT_ID {
                return Err(wrong("is set by the client; set last_event_id instead"));
            }
            headers.append(key, value);
        }
        let user_agent = HeaderValue::from_str(&config.user_agent)
            .map_err(|_| invalid("the user agent is no valid header value".to_owned()))?;
        headers.entry(USER_AGENT).or_insert(user_agent);
        let accept = HeaderValue::from_static("text/event-stream");
        headers.entry(ACCEPT).or_insert(accept);
        let no_cache = HeaderValue::from_static("no-cache");
        headers.entry(CACHE_CONTROL).or_insert(no_cache);
        // Compression may hold events back until a block is full.
        let encodings = if config.compression { "gzip, br, zstd" } else { "identity" };
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encodings));

        // The builder turns user info into an `Authorization` header and takes it off the URL.
        let asked = http.own().request(method.clone(), url).build().map_err(|error| {
            invalid(format!("not usable as a request: {}", error.without_url()))
        })?;
        if let Some(basic) = asked.headers().get(AUTHORIZATION) {
            headers.entry(AUTHORIZATION).or_insert(basic.clone());
        }
        let (url, body) = (asked.url().clone(), config.body.clone());
        let (resume, start) = (config.resume.clone(), config.start.clone());
        Ok(Target { url, method, headers, body, resume, start, is_elsewhere: false })
    }

    /// The request that resumes behind `last_event_id`; an empty id asks for no place.
    pub(super) fn request(&self, last_event_id: &[u8]) -> Result<Request, Error> {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        match &self.resume {
            _ if last_event_id.is_empty() => {
                if let Some((name, value)) = &self.start {
                    set_query(request.url_mut(), name, value.as_bytes());
                }
            }
            Resume::Header => {
                let value = id_value(&self.url, last_event_id)?;
                request.headers_mut().insert(LAST_EVENT_ID, value);
            }
            Resume::Query(name) => set_query(request.url_mut(), name, last_event_id),
            Resume::Never => {}
        }
        *request.body_mut() = self.body.clone().map(Into::into);
        Ok(request)
    }

    /// Where a redirect leads. Credentials stay behind when scheme, host or port change.
    pub(super) fn redirected(&self, status: u16, location: Option<&[u8]>) -> Result<Target, Error> {
        let rejected = |why: &str| {
            let at = shown(&self.url);
            Error::new(
                ErrorKind::Rejected,
                format!("{at}: redirect (http status {status}) {why}; correct the url"),
            )
        };
        let location = match location {
            None | Some([]) => return Err(rejected("without a location")),
            Some(location) => std::str::from_utf8(location)
                .map_err(|_| rejected("to a location that is no text"))?,
        };
        let mut url =
            self.url.join(location).map_err(|_| rejected("to something that is no url"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(rejected("to something other than http or https"));
        }
        // Credentials come from the configuration alone, never from a server.
        let stripped = url.set_username("").and_then(|()| url.set_password(None));
        stripped.map_err(|()| rejected("to something that is no url"))?;

        let mut target = self.clone();
        if url.origin() != self.url.origin() {
            target.is_elsewhere = true;
            target.headers = harmless(&self.headers);
        }
        target.url = url;
        let becomes_get = match status {
            303 => target.method != Method::HEAD,
            301 | 302 => target.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            target.method = Method::GET;
            target.body = None;
            target.headers.remove(CONTENT_TYPE);
            target.headers.remove(CONTENT_LENGTH);
        }
        Ok(target)
    }
}

/// Refuses an id that no request could carry.
pub(super) fn check_id(url: &Url, id: &[u8]) -> Result<(), Error> {
    id_value(url, id).map(drop)
}

fn id_value(url: &Url, id: &[u8]) -> Result<HeaderValue, Error> {
    HeaderValue::from_bytes(id).map_err(|_| {
        let message = format!(
            "{}: the last event id {:?} contains a control character and cannot be sent in a \
             request header; resume from another id",
            shown(url),
            String::from_utf8_lossy(&id[..id.len().min(80)]),
        );
        Error::new(ErrorKind::Protocol, message)
    })
}

/// Gives the URL this query parameter, once.
fn set_query(url: &mut Url, name: &str, value: &[u8]) {
    let value = String::from_utf8_lossy(value);
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != name)
        .map(|(k, v)| (k.into(), v.into()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, &value);
}

fn harmless(headers: &HeaderMap) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| HARMLESS.contains(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn parse_url(text: &str) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|error| {
        let message = format!("the stream url is not valid ({error}); give http(s)://host/path");
        Error::new(ErrorKind::Config, message)
    })?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        return Ok(url);
    }
    let message = format!(
        "the stream url has the scheme {:?}; only http and https are supported",
        url.scheme()
    );
    Err(Error::new(ErrorKind::Config, message))
}

/// A URL without user info and query values.
pub(super) fn shown(url: &Url) -> String {
    let mut text = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        text.push_str(&format!(":{port}"));
    }
    text.push_str(url.path());
    for (index, (name, _)) in url.query_pairs().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(&name);
        text.push_str("=*");
    }
    text
}

pub(super) fn shown_text(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "(not a url)".to_owned(), |url| shown(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_keeps_no_secret() {
        let text = shown_text("https://user:pass@feed.test:8443/a/b?token=abc&since=5#frag");
        assert_eq!(text, "https://feed.test:8443/a/b?token=*&since=*");
    }
}
