//! A feed's REST twin: the same events by plain requests, one bounded body at a time.

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{AUTHORIZATION, LOCATION};

use super::request::{Target, shown};
use super::response::advice;
use super::transport::{self, Transport};
use super::{ClientConfig, Connected, Credentials, Error, ErrorKind};

/// Fetches pages with the configuration of a stream: the same headers, redirects, TLS and limits.
pub struct Pages {
    config: ClientConfig,
    http: Transport,
    target: Target,
    max_bytes: usize,
}

/// One answer: its head and its whole body.
pub struct Page {
    pub head: Connected,
    pub body: Bytes,
}

impl Pages {
    /// Checks the configuration; no I/O. A body over `max_bytes` is refused.
    ///
    /// # Errors
    /// `Config` for an unusable URL, header or method.
    pub fn new(mut config: ClientConfig, max_bytes: usize) -> Result<Pages, Error> {
        config.headers.push(("Accept".into(), "application/json".into()));
        let http = Transport::new(&config)?;
        let target = Target::new(&config, &http)?;
        Ok(Pages { config, http, target, max_bytes })
    }

    /// One request with these query parameters in addition to the URL's own.
    ///
    /// # Errors
    /// `Network`, `Status`, `Rejected` (redirects without end) or `Protocol` (a body over the
    /// limit); [`Error::is_transient`] tells whether to ask again.
    pub async fn fetch(&self, query: &[(&str, &str)]) -> Result<Page, Error> {
        let mut target = self.target.clone();
        target.url.query_pairs_mut().extend_pairs(query);
        let at = shown(&target.url);
        let limit = self.config.connect_timeout.saturating_add(self.config.read_timeout);
        let network = |why: String| Error::new(ErrorKind::Network, format!("{at}: {why}"));
        tokio::time::timeout(limit, self.follow(target))
            .await
            .map_err(|_| network(format!("no whole answer within {:.0} s", limit.as_secs_f64())))?
    }

    async fn follow(&self, mut target: Target) -> Result<Page, Error> {
        for _ in 0..=self.config.max_redirects {
            let at = shown(&target.url);
            let failed = |error| transport::failure(&at, error);
            let response = self.ask(&target, false, &failed).await?;
            let response = match response.status().as_u16() {
                401 if self.credentials(&target).is_some() => {
                    self.ask(&target, true, &failed).await?
                }
                _ => response,
            };
            let status = response.status().as_u16();
            match status {
                200 => {
                    let headers = response.headers().clone();
                    let body = self.body(response, &at, failed).await?;
                    return Ok(Page {
                        head: Connected { url: at, status, attempt: 1, headers },
                        body,
                    });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let location = response.headers().get(LOCATION).map(|value| value.as_bytes());
                    target = target.redirected(status, location)?;
                }
                _ => {
                    let next = advice(status);
                    let message = format!("{at}: the server answered http status {status}; {next}");
                    return Err(Error::new(ErrorKind::Status(status), message));
                }
            }
        }
        let (at, limit) = (shown(&target.url), self.config.max_redirects);
        let message = format!("{at}: redirected more than {limit} times; correct the url");
        Err(Error::new(ErrorKind::Rejected, message))
    }

    fn credentials(&self, target: &Target) -> Option<&dyn Credentials> {
        self.config.credentials.as_deref().filter(|_| !target.is_elsewhere)
    }

    async fn ask(
        &self,
        target: &Target,
        renew: bool,
        failed: &impl Fn(reqwest::Error) -> Error,
    ) -> Result<Response, Error> {
        let mut request = target.request(b"")?;
        if let Some(credentials) = self.credentials(target) {
            let value = super::authorization(credentials.authorization(renew).await?)?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.http.to(target).execute(request).await.map_err(failed)
    }

    async fn body(
        &self,
        mut response: Response,
        at: &str,
        failed: impl Fn(reqwest::Error) -> Error,
    ) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(&failed)? {
            if body.len() + chunk.len() > self.max_bytes {
                let message = format!(
                    "{at}: the page is over {} bytes; ask for fewer events",
                    self.max_bytes
                );
                return Err(Error::new(ErrorKind::Protocol, message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}
