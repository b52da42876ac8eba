//! The HTTP stack: TLS as configured, no pool, no policies.

use std::error::Error as StdError;

use super::config::Proxy;
use super::request::{Target, shown_text};
use super::{ClientConfig, Error, ErrorKind, tls};

/// HTTP clients that leave redirects, retries and waiting to ours.
#[derive(Clone)]
pub(super) struct Transport {
    own: reqwest::Client,
    /// For an origin that a redirect led to: the client certificate is not shown there.
    other: reqwest::Client,
}

impl Transport {
    /// Reads the files of the configuration; no network.
    pub(super) fn new(config: &ClientConfig) -> Result<Transport, Error> {
        let own = http_client(config, true)?;
        let other = match &config.tls.client_cert {
            Some(_) => http_client(config, false)?,
            None => own.clone(),
        };
        Ok(Transport { own, other })
    }

    pub(super) fn own(&self) -> &reqwest::Client {
        &self.own
    }

    /// The client that may talk to this target.
    pub(super) fn to(&self, target: &Target) -> &reqwest::Client {
        if target.is_elsewhere { &self.other } else { &self.own }
    }
}

fn http_client(config: &ClientConfig, identified: bool) -> Result<reqwest::Client, Error> {
    let failed = |what: String| {
        Error::new(ErrorKind::Config, format!("{}: {what}", shown_text(&config.url)))
    };
    let plain = !config.url.starts_with("https:");
    let tls = tls::client_config(&config.tls, plain, identified).map_err(failed)?;
    let mut builder = reqwest::Client::builder();
    match &config.proxy {
        Proxy::None => builder = builder.no_proxy(),
        Proxy::Environment => {}
        Proxy::Url(url) => {
            // Its parse error would quote the address, and with it a password.
            let wrong = |_| failed("the proxy is no address; give http://host:port".into());
            builder = builder.proxy(reqwest::Proxy::all(url.as_str()).map_err(wrong)?);
        }
    }
    builder
        .gzip(config.compression)
        .brotli(config.compression)
        .zstd(config.compression)
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(config.connect_timeout)
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|error| {
            let next = "correct the proxy settings of the environment";
            failed(format!("cannot set up http ({}); {next}", chain(&error)))
        })
}

/// Why a request did not come to an answer, and whether asking again could.
pub(super) fn failure(at: &str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let cause = chain(&error);
    let (kind, message) = match tls::refusal(&error) {
        Some(tls::Refusal::Theirs) => (
            ErrorKind::Rejected,
            format!(
                "{at}: the server's certificate is refused ({cause}); correct the url, install \
                 the authority that signed it or name it in ca_file"
            ),
        ),
        Some(tls::Refusal::Ours) => (
            ErrorKind::Rejected,
            format!(
                "{at}: the server does not accept us without another certificate ({cause}); \
                 check client_cert and client_key"
            ),
        ),
        None => (ErrorKind::Network, format!("{at}: the connection failed ({cause})")),
    };
    Error::new(kind, message)
}

/// An error with its causes, each only once: libraries tend to repeat the inner message.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        parts.retain(|outer| !outer.contains(&part));
        parts.push(part);
        next = error.source();
    }
    parts.join(": ").to_lowercase()
}
