//! TLS to the database, with the meaning libpq gives to its parameters.

use std::error::Error as StdError;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, ErrorKind};

/// libpq's TLS parameters.
#[derive(Clone, Default)]
pub(super) struct Tls {
    pub(super) mode: Option<String>,
    pub(super) root_cert: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Tls {
    /// What is asked for. As in libpq, whoever trusts the system's authorities must verify the
    /// name as well: anybody can get a certificate of theirs.
    pub(super) fn mode(&self) -> Result<Mode, Error> {
        let system = self.root_cert.as_deref() == Some("system");
        let mode = match self.mode.as_deref() {
            None if system => Mode::VerifyFull,
            None => Mode::Prefer,
            Some("disable") => Mode::Disable,
            Some("allow") => Mode::Allow,
            Some("prefer") => Mode::Prefer,
            Some("require") => Mode::Require,
            Some("verify-ca") => Mode::VerifyCa,
            Some("verify-full") => Mode::VerifyFull,
            Some(other) => {
                return Err(Error::config(format!(
                    "sslmode {other:?} is unknown; use disable, allow, prefer, require, verify-ca or verify-full"
                )));
            }
        };
        if system && mode != Mode::VerifyFull {
            return Err(Error::config(
                "sslrootcert=system needs sslmode=verify-full; set that, or a file as sslrootcert",
            ));
        }
        Ok(mode)
    }

    /// libpq's rules: up to `require` nothing is verified unless a root certificate is given;
    /// `verify-ca` verifies the chain, `verify-full` the name as well.
    pub(super) fn client_config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let mode = self.mode()?;
        let verifies = match mode {
            Mode::Disable | Mode::Allow | Mode::Prefer => false,
            Mode::Require => self.root_cert.is_some(),
            Mode::VerifyCa | Mode::VerifyFull => true,
        };
        let verifier: Arc<dyn ServerCertVerifier> = if verifies {
            let chain = rustls::client::WebPkiServerVerifier::builder_with_provider(
                Arc::new(self.roots()?),
                provider.clone(),
            )
            .build()
            .map_err(|error| {
                Error::config("no usable root certificate for the database; set sslrootcert")
                    .caused_by(error)
            })?;
            if mode == Mode::VerifyFull { chain } else { Arc::new(ChainOnly(chain)) }
        } else {
            Arc::new(Unverified(provider.clone()))
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config("TLS cannot be set up").caused_by(error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates("sslcert", cert)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| unreadable("sslkey", key, error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    Error::config("sslcert and sslkey do not belong together").caused_by(error)
                })
            }
            (None, None) => Ok(builder.with_no_client_auth()),
            _ => Err(Error::config("sslcert and sslkey must be set together")),
        }
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match self.root_cert.as_deref() {
            Some(path) if path != "system" => {
                for certificate in certificates("sslrootcert", path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| unreadable("sslrootcert", path, error))?;
                }
            }
            _ => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(roots)
    }
}

fn certificates(what: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(what, path, error))?;
    if found.is_empty() {
        let path = shown(path);
        return Err(Error::config(format!("{what} {path} holds no certificate; correct the path")));
    }
    Ok(found)
}

/// A path, unless somebody gave the key itself in its place: the shortest has 184 signs.
fn shown(path: &str) -> String {
    if path.len() > 160 || path.contains("-----") || path.chars().any(char::is_control) {
        return "(no path, but something long)".into();
    }
    format!("{path:?}")
}

/// Whether the server or its TLS turned this kind of connection down, so that the other kind may
/// do: `prefer` and `allow` ask.
pub(super) fn is_refusal(error: &tokio_postgres::Error) -> bool {
    // 28000: pg_hba.conf has no line for such a connection.
    let unwanted = error.as_db_error().is_some_and(|db| db.code().code() == "28000");
    unwanted || speaks_no_tls(error) || find(error, |_| Some(())).is_some()
}

/// The driver has no other mark for this.
fn speaks_no_tls(error: &tokio_postgres::Error) -> bool {
    let cause = error.source().map(ToString::to_string);
    cause.as_deref() == Some("server does not support TLS")
}

/// What to do where certificates are the trouble: no further attempt would mend that.
pub(super) fn advice(error: &tokio_postgres::Error) -> Option<&'static str> {
    use rustls::AlertDescription as Alert;
    find(error, |error| match error {
        rustls::Error::InvalidCertificate(_) => {
            Some("correct host, or set sslrootcert to the authority of the server's certificate")
        }
        rustls::Error::AlertReceived(
            Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate,
        ) => Some("the server does not accept sslcert; set one that its ssl_ca_file vouches for"),
        _ => None,
    })
}

/// What `pick` makes of the TLS error among the causes.
fn find<T>(
    error: &(dyn StdError + 'static),
    pick: impl Fn(&rustls::Error) -> Option<T> + Copy,
) -> Option<T> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find(inner, pick)) {
            return Some(found);
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return pick(error);
        }
        next = error.source();
    }
    None
}

fn unreadable(
    what: &str,
    path: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("{what} {} cannot be read; check the path and its rights", shown(path)),
    )
    .caused_by(error)
}

/// Verifies the chain but not the name (`verify-ca`).
#[derive(Debug)]
struct ChainOnly(Arc<rustls::client::WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Encrypts without verifying whom it talks to (`prefer`, `require`).
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
