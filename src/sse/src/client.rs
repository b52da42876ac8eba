//! The client: one connection at a time, moved on only by its caller.

mod backoff;
mod config;
mod cookies;
mod credentials;
mod error;
mod pages;
mod request;
mod response;
mod signal;
mod silence;
mod tls;
mod transport;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use reqwest::Response;
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderValue, LOCATION, RETRY_AFTER};
use tokio::time::{Instant, sleep_until};

pub use config::{Backoff, ClientConfig, Proxy, Resume, Tls};
pub use credentials::{Authorization, Credentials};
pub use error::{Error, ErrorKind};
pub use pages::{Page, Pages};
pub use signal::{Connected, Disconnected, Signal};

use crate::{Item, Parser};
use cookies::Jar;
use request::{Target, shown};
use response::{advice, check_content};
use silence::Silence;
use transport::Transport;

/// A stream that is kept open: reconnects, resumes at the last event id, backs off.
///
/// It needs a tokio runtime with I/O and time only while [`Client::advance`] is awaited.
pub struct Client {
    config: ClientConfig,
    http: Transport,
    target: Target,
    parser: Parser,
    cookies: Jar,
    /// Where to go on, if the caller knows better than the stream's id fields.
    resume_after: Option<Vec<u8>>,
    /// The credentials were refused and renewed since the last answer.
    renewed: bool,
    /// The server's last `retry`; it outlives the connection.
    retry: Option<Duration>,
    /// Consecutive attempts that brought no byte.
    failures: u32,
    state: State,
}

/// Everything that a dropped `advance` must not lose.
enum State {
    Idle,
    Waiting(Instant),
    Asking(Box<Asking>),
    Reading(Box<Reading>),
    Ended,
    Failed(Error),
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

/// Why there is no answer.
enum Failure {
    Request(reqwest::Error),
    Credentials(Error),
}

struct Asking {
    answer: Answer,
    target: Target,
    redirects: usize,
    silence: Silence,
}

struct Reading {
    response: Response,
    at: String,
    silence: Silence,
    any_bytes: bool,
}

impl Client {
    /// Checks the configuration; connects only in [`Client::advance`].
    ///
    /// # Errors
    /// `Config` for an unusable URL, header or method, `Protocol` for an id that no request can
    /// carry.
    pub fn new(config: ClientConfig) -> Result<Client, Error> {
        let http = Transport::new(&config)?;
        let target = Target::new(&config, &http)?;
        let id = config.last_event_id.as_deref().unwrap_or_default();
        if config.resume == Resume::Header {
            request::check_id(&target.url, id)?;
        }
        Ok(Client {
            parser: Parser::with_last_event_id(config.limits, id),
            http,
            target,
            cookies: Jar::default(),
            resume_after: None,
            renewed: false,
            retry: None,
            failures: 0,
            state: State::Idle,
            config,
        })
    }

    /// One step: connects, reads a chunk, or waits for the next attempt.
    ///
    /// Cancel-safe: dropping the future loses nothing, the next call goes on where it was.
    /// Take all items after [`Signal::Bytes`] before the next step.
    ///
    /// # Errors
    /// Only what no further attempt can mend (see [`ErrorKind`]), or the last failure once
    /// `max_attempts` is reached. Every further call returns the same error.
    pub async fn advance(&mut self) -> Result<Signal, Error> {
        loop {
            match &mut self.state {
                State::Idle => self.ask(self.target.clone(), 0)?,
                State::Waiting(until) => {
                    sleep_until(*until).await;
                    self.state = State::Idle;
                }
                State::Asking(asking) => {
                    let answer = asking.silence.bound(&mut asking.answer).await;
                    let at = shown(&asking.target.url);
                    match answer {
                        Some(Ok(response)) => {
                            if let Some(signal) = self.answered(response)? {
                                return Ok(signal);
                            }
                        }
                        Some(Err(Failure::Request(error))) => return self.broken(&at, error),
                        Some(Err(Failure::Credentials(error))) => return self.denied(error),
                        None => {
                            let limit = self.answer_limit();
                            return self.silent(&at, "answer", limit);
                        }
                    }
                }
                State::Reading(reading) => {
                    let chunk = reading.silence.bound(reading.response.chunk()).await;
                    match chunk {
                        Some(Ok(Some(chunk))) => {
                            reading.silence.heard();
                            if chunk.is_empty() {
                                continue;
                            }
                            reading.any_bytes = true;
                            self.failures = 0;
                            let length = chunk.len();
                            self.parser.push(chunk);
                            return Ok(Signal::Bytes(length));
                        }
                        Some(Ok(None)) => {
                            let reason = format!("{}: the stream ended", reading.at);
                            let storm = !reading.any_bytes;
                            return self.disconnected(ErrorKind::Network, reason, storm, None);
                        }
                        Some(Err(error)) => {
                            let at = std::mem::take(&mut reading.at);
                            return self.broken(&at, error);
                        }
                        None => {
                            let at = std::mem::take(&mut reading.at);
                            let limit = self.config.read_timeout;
                            return self.silent(&at, "byte", limit);
                        }
                    }
                }
                State::Ended => return Ok(Signal::End),
                State::Failed(error) => return Err(error.clone()),
            }
        }
    }

    /// The next item of what has arrived, or `None` when more bytes are needed.
    pub fn next_item(&mut self) -> Option<Item<'_>> {
        self.parser.next()
    }

    /// Where a new connection would resume: the id of the last finished block.
    pub fn last_event_id(&self) -> &[u8] {
        self.parser.last_event_id()
    }

    /// Where the next connection is to go on, whatever the stream's id fields say: for a stream
    /// whose ids stand in its data. It holds until it is set anew.
    pub fn resume_after(&mut self, id: &[u8]) {
        let place = self.resume_after.get_or_insert_default();
        place.clear();
        place.extend_from_slice(id);
    }

    /// Drops the present connection unread and goes on from `id` (`None` or empty: no header).
    ///
    /// A wait that is under way is kept: the server may have asked for it.
    pub fn restart(&mut self, last_event_id: Option<&[u8]>) {
        self.retry = self.parser.retry().or(self.retry);
        let id = last_event_id.unwrap_or_default();
        self.resume_after = None;
        self.parser = Parser::with_last_event_id(self.config.limits, id);
        if !matches!(self.state, State::Waiting(_)) {
            self.failures = 0;
            self.state = State::Idle;
        }
    }

    /// Sends a request. What the last connection left unfinished is dropped here.
    fn ask(&mut self, target: Target, redirects: usize) -> Result<(), Error> {
        let id = self.parser.last_event_id().to_vec();
        self.retry = self.parser.retry().or(self.retry);
        self.parser = Parser::with_last_event_id(self.config.limits, &id);
        let place = self.resume_after.as_ref().unwrap_or(&id);
        let mut request = target.request(place).map_err(|error| self.fail(error))?;
        let mut credentials = None;
        if !target.is_elsewhere {
            credentials.clone_from(&self.config.credentials);
            if let Some(cookies) = self.cookies.header() {
                request.headers_mut().entry(COOKIE).or_insert(cookies);
            }
        }
        tracing::debug!(url = %shown(&target.url), attempt = self.failures + 1, "connecting");
        let (http, renew) = (self.http.to(&target).clone(), self.renewed);
        self.state = State::Asking(Box::new(Asking {
            answer: Box::pin(async move {
                if let Some(credentials) = credentials {
                    let value = credentials.authorization(renew).await;
                    let value = value.and_then(authorization).map_err(Failure::Credentials)?;
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
                http.execute(request).await.map_err(Failure::Request)
            }),
            target,
            redirects,
            silence: Silence::new(self.answer_limit()),
        }));
        Ok(())
    }

    /// Judges an answer; `None` means that a redirect is being followed.
    fn answered(&mut self, response: Response) -> Result<Option<Signal>, Error> {
        let State::Asking(asking) = std::mem::replace(&mut self.state, State::Idle) else {
            return Ok(None);
        };
        let at = shown(&asking.target.url);
        let status = response.status().as_u16();
        let headers = response.headers();
        if !asking.target.is_elsewhere {
            self.cookies.keep(headers, asking.target.url.scheme() == "https");
        }
        self.renewed &= status == 401;
        match status {
            200 => {
                check_content(&at, headers).map_err(|error| self.fail(error))?;
                let headers = headers.clone();
                self.state = State::Reading(Box::new(Reading {
                    response,
                    at: at.clone(),
                    silence: Silence::new(self.config.read_timeout),
                    any_bytes: false,
                }));
                Ok(Some(Signal::Connected(Connected {
                    url: at,
                    status,
                    attempt: self.failures.saturating_add(1),
                    headers,
                })))
            }
            401 if self.config.credentials.is_some()
                && !self.renewed
                && !asking.target.is_elsewhere =>
            {
                self.renewed = true;
                self.ask(asking.target, asking.redirects)?;
                Ok(None)
            }
            204 => {
                self.state = State::Ended;
                Ok(Some(Signal::End))
            }
            301 | 302 | 303 | 307 | 308 => {
                if asking.redirects >= self.config.max_redirects {
                    let limit = self.config.max_redirects;
                    let message =
                        format!("{at}: redirected more than {limit} times; correct the url");
                    return Err(self.fail(Error::new(ErrorKind::Rejected, message)));
                }
                let location = headers.get(LOCATION).map(|value| value.as_bytes());
                let target =
                    asking.target.redirected(status, location).map_err(|error| self.fail(error))?;
                self.ask(target, asking.redirects + 1)?;
                Ok(None)
            }
            _ => {
                let kind = ErrorKind::Status(status);
                if self.config.strict || !kind.is_transient() {
                    let next = advice(status);
                    let message = format!("{at}: the server answered http status {status}; {next}");
                    return Err(self.fail(Error::new(kind, message)));
                }
                let retry_after = headers
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .and_then(|value| backoff::retry_after(value, SystemTime::now()));
                let reason = format!("{at}: the server answered http status {status}");
                self.disconnected(kind, reason, true, retry_after).map(Some)
            }
        }
    }

    fn broken(&mut self, at: &str, error: reqwest::Error) -> Result<Signal, Error> {
        let error = transport::failure(at, error);
        if !error.is_transient() {
            return Err(self.fail(error));
        }
        self.disconnected(error.kind(), error.to_string(), true, None)
    }

    fn denied(&mut self, error: Error) -> Result<Signal, Error> {
        if !error.is_transient() {
            return Err(self.fail(error));
        }
        self.disconnected(error.kind(), error.to_string(), true, None)
    }

    fn silent(&mut self, at: &str, what: &str, limit: Duration) -> Result<Signal, Error> {
        let reason = format!("{at}: no {what} for {:.1} s", limit.as_secs_f64());
        self.disconnected(ErrorKind::Network, reason, true, None)
    }

    /// Ends the present attempt and sets the clock for the next one.
    fn disconnected(
        &mut self,
        kind: ErrorKind,
        reason: String,
        failed: bool,
        retry_after: Option<Duration>,
    ) -> Result<Signal, Error> {
        self.failures = self.failures.saturating_add(u32::from(failed));
        if failed && self.config.max_attempts.is_some_and(|max| self.failures >= max) {
            let attempts = self.failures;
            let message = format!(
                "{reason}; gave up after {attempts} failed attempts, see that the source is up \
                 and start again"
            );
            return Err(self.fail(Error::new(kind, message)));
        }
        let retry_in = backoff::wait(
            &self.config.backoff,
            self.failures,
            self.parser.retry().or(self.retry),
            retry_after,
            rand::random(),
        );
        tracing::debug!(%reason, ?retry_in, failures = self.failures, "disconnected");
        self.state = State::Waiting(Instant::now() + retry_in);
        Ok(Signal::Disconnected(Disconnected { reason, retry_in, kind, failed }))
    }

    /// How long connecting and the head of the answer may take together.
    fn answer_limit(&self) -> Duration {
        let Self { config, .. } = self;
        config.connect_timeout.saturating_add(config.read_timeout)
    }

    fn fail(&mut self, error: Error) -> Error {
        self.state = State::Failed(error.clone());
        error
    }
}

fn authorization(value: String) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&value).map_err(|_| {
        let message = "the credentials make no valid request header; check where they come from";
        Error::new(ErrorKind::Rejected, message)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Shows the state and the position only: configuration may hold secrets.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Idle => "idle",
            State::Waiting(_) => "waiting",
            State::Asking(_) => "asking",
            State::Reading(_) => "reading",
            State::Ended => "ended",
            State::Failed(_) => "failed",
        };
        f.debug_struct("Client")
            .field("url", &shown(&self.target.url))
            .field("state", &state)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}
