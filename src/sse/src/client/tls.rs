//! Whom the client trusts and how it shows who it is.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, ClientConfig as TlsConfig, RootCertStore, crypto::ring};
use rustls_platform_verifier::Verifier;

use super::config::Tls;
use super::transport::chain;

/// TLS for this configuration. Certificates are always verified; `plain` says that the source is
/// asked without TLS. `identified` says whether the client certificate is shown.
///
/// # Errors
/// A sentence with the cause and the next step.
pub(super) fn client_config(tls: &Tls, plain: bool, identified: bool) -> Result<TlsConfig, String> {
    // Handed over explicitly: the process-wide default provider belongs to the application.
    let provider = Arc::new(ring::default_provider());
    let builder = TlsConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error, "this build of the client is unusable"))?;
    let builder = match &tls.ca_file {
        Some(path) => builder.with_root_certificates(authorities(path)?),
        None => match system_authorities(provider) {
            Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
            // A machine without root certificates can still read plain http; https then fails.
            Err(_) if plain => builder.with_root_certificates(RootCertStore::empty()),
            Err(error) => {
                return Err(unusable(&error, "install the system's root certificates"));
            }
        },
    };
    let mut config = match (&tls.client_cert, &tls.client_key) {
        (Some(cert), Some(key)) => {
            let chain = certificates("client_cert", cert)?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                let what = "holds no private key in PEM, or an encrypted one";
                unreadable("client_key", key, what, &error)
            })?;
            if identified {
                builder.with_client_auth_cert(chain, secret).map_err(|error| {
                    unusable(&error, "give a client_key that belongs to client_cert")
                })?
            } else {
                builder.with_no_client_auth()
            }
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("client_cert and client_key belong together; set both or none".into()),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The system's authorities: read once for as long as any client uses them, because they are large
/// and one process may hold thousands of clients.
fn system_authorities(provider: Arc<CryptoProvider>) -> Result<Arc<Verifier>, rustls::Error> {
    static IN_USE: Mutex<Weak<Verifier>> = Mutex::new(Weak::new());
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(verifier) = in_use.upgrade() {
        return Ok(verifier);
    }
    let verifier = Arc::new(Verifier::new(provider)?);
    *in_use = Arc::downgrade(&verifier);
    Ok(verifier)
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", path)? {
        roots.add(certificate).map_err(|error| {
            unreadable("ca_file", path, "holds what is no certificate authority", &error)
        })?;
    }
    Ok(roots)
}

fn certificates(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    match found {
        Ok(found) if found.is_empty() => {
            let path = shown(path);
            Err(format!("{name} {path} holds no certificate in PEM; correct the path"))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(name, path, "cannot be read as certificates in PEM", &error)),
    }
}

fn unusable(error: &dyn StdError, next: &str) -> String {
    format!("cannot set up tls ({}); {next}", chain(error))
}

fn unreadable(name: &str, path: &Path, what: &str, error: &dyn StdError) -> String {
    let path = shown(path);
    format!("{name} {path} {what} ({}); correct the path or its rights", chain(error))
}

/// A path, unless somebody gave the key itself in its place: the shortest has 184 signs.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.len() > 160 || text.contains("-----") || text.chars().any(char::is_control) {
        return "(no path, but something long)".to_owned();
    }
    format!("{text:?}")
}

/// What a failed handshake says about certificates, which waiting does not mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// We do not trust the server.
    Theirs,
    /// The server does not accept our certificate, or wants one.
    Ours,
}

/// Whether a certificate was refused, and whose.
pub(super) fn refusal(error: &(dyn StdError + 'static)) -> Option<Refusal> {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, DecryptError, UnknownCA, UnsupportedCertificate,
    };
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| refusal(inner)) {
            return Some(found);
        }
        match error.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(_)) => return Some(Refusal::Theirs),
            Some(rustls::Error::AlertReceived(
                AccessDenied
                | BadCertificate
                | CertificateExpired
                | CertificateRequired
                | CertificateRevoked
                | CertificateUnknown
                | DecryptError
                | UnknownCA
                | UnsupportedCertificate,
            )) => return Some(Refusal::Ours),
            _ => next = error.source(),
        }
    }
    None
}
