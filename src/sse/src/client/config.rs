//! What a caller may set; plain values with defaults that suit a data feed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::credentials::Credentials;
use crate::Limits;

/// How to reach a stream and how to behave when it fails. Checked by
/// [`Client::new`](crate::Client::new).
#[derive(Clone)]
pub struct ClientConfig {
    /// The stream, `http` or `https`. A user name and password in it become basic credentials.
    pub url: String,
    /// Further request headers. Any of them may be a credential, whatever its name, so none but
    /// `Accept`, `Cache-Control`, `Content-Type` and `User-Agent` follows a redirect to another
    /// scheme, host or port.
    pub headers: Vec<(String, String)>,
    /// Where the first connection starts, as opaque bytes; `None` or empty sends no header.
    pub last_event_id: Option<Vec<u8>>,
    /// Limit for name lookup, TCP and TLS together. Default 10 s.
    pub connect_timeout: Duration,
    /// Longest silence before the connection counts as dead; any byte ends a silence,
    /// heartbeat comments included. Default 30 s.
    pub read_timeout: Duration,
    /// Whom to trust and what to show, for `https`.
    pub tls: Tls,
    /// Waiting between attempts.
    pub backoff: Backoff,
    /// Bounds of the parser's memory.
    pub limits: Limits,
    /// Redirects followed per attempt. Default 10.
    pub max_redirects: usize,
    /// Behave as a browser does: 5xx and 429 are final. Default false.
    pub strict: bool,
    /// The `User-Agent` header; some feeds refuse requests without one.
    pub user_agent: String,
    /// Consecutive failures before giving up; `None` (the default) never does.
    pub max_attempts: Option<u32>,
    /// Request method. Default `GET`.
    pub method: String,
    /// Request body, sent again with every attempt. Default none.
    pub body: Option<Bytes>,
    /// How a request says where to go on. Default the `Last-Event-ID` header.
    pub resume: Resume,
    /// Query parameter that is sent until there is an id, for where to begin. Default none.
    pub start: Option<(String, String)>,
    /// Who makes the `Authorization` header of each request, where it is not fixed. It goes to the
    /// stream's own origin only. Default none.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// Whether the source may send the stream compressed (gzip, br, zstd). Default false: a
    /// compressor that is not flushed holds events back.
    pub compression: bool,
    /// Through which proxy the source is asked. Default none.
    pub proxy: Proxy,
}

/// How a request says where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// By the `Last-Event-ID` header.
    #[default]
    Header,
    /// By this query parameter, which takes the place of the URL's own; until there is an id, the
    /// URL's own value stands.
    Query(String),
    /// Not at all: the source would not know.
    Never,
}

/// Through which proxy a source is asked.
#[derive(Clone, Default)]
pub enum Proxy {
    #[default]
    None,
    /// As `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    Environment,
    /// This one, `http` or `https`; user name and password in it are sent to it alone.
    Url(String),
}

impl ClientConfig {
    /// The defaults for this URL.
    pub fn new(url: impl Into<String>) -> Self {
        ClientConfig {
            url: url.into(),
            headers: Vec::new(),
            last_event_id: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            tls: Tls::default(),
            backoff: Backoff::default(),
            limits: Limits::default(),
            max_redirects: 10,
            strict: false,
            user_agent: concat!("sse/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_attempts: None,
            method: "GET".to_owned(),
            body: None,
            resume: Resume::Header,
            start: None,
            credentials: None,
            compression: false,
            proxy: Proxy::None,
        }
    }
}

/// Never shows header values, the body, certificates, or what stands in the URL's user info and query.
impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ClientConfig")
            .field("url", &super::request::shown_text(&self.url))
            .field("headers", &names)
            .field("connect_timeout", &self.connect_timeout)
            .field("read_timeout", &self.read_timeout)
            .field("backoff", &self.backoff)
            .field("limits", &self.limits)
            .field("strict", &self.strict)
            .field("max_attempts", &self.max_attempts)
            .field("resume", &self.resume)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

/// Certificates, as paths of PEM files. The server's is always verified.
#[derive(Clone, Default)]
pub struct Tls {
    /// The authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, followed by those that lead to its authority. It is not shown where a
    /// redirect led to another scheme, host or port.
    pub client_cert: Option<PathBuf>,
    /// The private key of `client_cert`, not encrypted.
    pub client_key: Option<PathBuf>,
}

/// Exponential back-off: `initial`, doubled with every consecutive failure, at most `max`.
///
/// A `retry` field from the server takes the place of `initial`; `Retry-After` is a lower bound
/// for the wait it came with. Neither counts for more than five minutes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// First wait, and the wait after a connection that simply ended. Default 0.5 s.
    pub initial: Duration,
    /// Longest wait. Default 30 s.
    pub max: Duration,
    /// Share of a wait that is left to chance, 0 to 1: our own waits get shorter by up to this
    /// share, those the server asked for longer by up to half of it. Default 0.5.
    pub jitter: f64,
    /// Shortest wait, whatever the server asks for. Default 100 ms.
    pub floor: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            jitter: 0.5,
            floor: Duration::from_millis(100),
        }
    }
}
