//! The HTTP stack: TLS with the ring provider and the system's roots, no pool, no policies.

use std::error::Error as StdError;
use std::sync::Arc;

use rustls::{ClientConfig as TlsConfig, RootCertStore, crypto::ring};
use rustls_platform_verifier::Verifier;

use super::{ClientConfig, Error, ErrorKind, request::shown_text};

/// An HTTP client that leaves redirects, retries and waiting to ours.
pub(super) fn http_client(config: &ClientConfig) -> Result<reqwest::Client, Error> {
    let failed = |error: &dyn StdError, next: &str| {
        let at = shown_text(&config.url);
        let message = format!("{at}: cannot set up tls ({}); {next}", chain(error));
        Error::new(ErrorKind::Config, message)
    };
    // Handed over explicitly: the process-wide default provider belongs to the application.
    let provider = Arc::new(ring::default_provider());
    let builder = TlsConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error, "this build of the client is unusable"))?;
    let mut tls = match Verifier::new(provider) {
        Ok(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth(),
        // A machine without root certificates can still read plain http; https then fails.
        Err(_) if !config.url.starts_with("https:") => {
            builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
        Err(error) => return Err(failed(&error, "install the system's root certificates")),
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(config.connect_timeout)
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|error| failed(&error, "correct the proxy settings of the environment"))
}

/// Whether the server's certificate was refused, which waiting does not mend.
pub(super) fn is_bad_certificate(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(inner) = inner
            && is_bad_certificate(inner)
        {
            return true;
        }
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        next = error.source();
    }
    false
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
