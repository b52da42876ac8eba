//! libpq's TLS parameters (`sslmode`, `sslrootcert`, `sslcert`, `sslkey`) for `tokio-postgres`, with
//! the meaning that libpq gives to them.
//! Source: <https://www.postgresql.org/docs/current/libpq-ssl.html>.
//!
//! Whoever connects takes the kinds of connection that [`Tls::attempts`] names, one after the other
//! while the server refuses the kind ([`is_refusal`]), those with TLS through [`Tls::connector`].

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::{Host, SslMode};
pub use tokio_postgres_rustls::MakeRustlsConnect;

/// A parameter that cannot be used. The message names it and says what to do.
#[derive(Debug)]
pub struct Error {
    message: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None }
    }

    /// What went wrong below, for whoever has taken the message.
    pub fn into_cause(self) -> Option<Box<dyn StdError + Send + Sync>> {
        self.cause
    }

    fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// libpq's TLS parameters, as they were given.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    mode: Option<String>,
    root_cert: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Tls {
    /// Takes a parameter; false if it is none of TLS.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        let place = match name {
            "sslmode" => &mut self.mode,
            "sslrootcert" => &mut self.root_cert,
            "sslcert" => &mut self.cert,
            "sslkey" => &mut self.key,
            _ => return false,
        };
        *place = Some(value.into());
        true
    }

    /// Takes the parameters of TLS out of a URL's query, most of which the driver does not know.
    /// Returns the URL without them.
    pub fn of_url(url: &str) -> (String, Self) {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut tls = Self::default();
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((name, value)) if tls.set(name, &unescape(value)) => {}
                _ => rest.push(pair),
            }
        }
        let mut plain = base.to_owned();
        if !rest.is_empty() {
            plain.push('?');
            plain.push_str(&rest.join("&"));
        }
        (plain, tls)
    }

    /// The kinds of connection to try, in their order: as with libpq, `prefer` tries once more
    /// without TLS, and `allow` with it, where the server refuses the first kind; nothing else is
    /// ever weakened, and Unix sockets know no TLS.
    ///
    /// # Errors
    /// If `sslmode` is unknown, or does not go with `sslrootcert=system`.
    pub fn attempts(&self, hosts: &[Host]) -> Result<&'static [SslMode], Error> {
        let is_local = !hosts.is_empty() && hosts.iter().all(|host| !matches!(host, Host::Tcp(_)));
        Ok(match self.mode()? {
            _ if is_local => &[SslMode::Disable],
            Mode::Disable => &[SslMode::Disable],
            Mode::Allow => &[SslMode::Disable, SslMode::Require],
            Mode::Prefer => &[SslMode::Require, SslMode::Disable],
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => &[SslMode::Require],
        })
    }

    /// What connects with TLS.
    ///
    /// # Errors
    /// If a file cannot be read or used; see also [`Tls::attempts`].
    pub fn connector(&self) -> Result<MakeRustlsConnect, Error> {
        Ok(MakeRustlsConnect::new(self.client_config()?))
    }

    /// What is asked for. As in libpq, whoever trusts the system's authorities must verify the
    /// name as well: anybody can get a certificate of theirs.
    fn mode(&self) -> Result<Mode, Error> {
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
                return Err(Error::new(format!(
                    "sslmode {other:?} is unknown; use disable, allow, prefer, require, verify-ca or verify-full"
                )));
            }
        };
        if system && mode != Mode::VerifyFull {
            return Err(Error::new(
                "sslrootcert=system needs sslmode=verify-full; set that, or a file as sslrootcert",
            ));
        }
        Ok(mode)
    }

    /// libpq's rules: up to `require` nothing is verified unless a root certificate is given;
    /// `verify-ca` verifies the chain, `verify-full` the name as well.
    fn client_config(&self) -> Result<ClientConfig, Error> {
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
                Error::new("no usable root certificate for the database; set sslrootcert")
                    .caused_by(error)
            })?;
            if mode == Mode::VerifyFull { chain } else { Arc::new(ChainOnly(chain)) }
        } else {
            Arc::new(Unverified(provider.clone()))
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new("TLS cannot be set up").caused_by(error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates("sslcert", cert)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| unreadable("sslkey", key, error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    Error::new("sslcert and sslkey do not belong together").caused_by(error)
                })
            }
            (None, None) => Ok(builder.with_no_client_auth()),
            _ => Err(Error::new("sslcert and sslkey must be set together")),
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
        return Err(Error::new(format!("{what} {path} holds no certificate; correct the path")));
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
pub fn is_refusal(error: &tokio_postgres::Error) -> bool {
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
pub fn advice(error: &tokio_postgres::Error) -> Option<&'static str> {
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

fn unreadable(what: &str, path: &str, error: impl StdError + Send + Sync + 'static) -> Error {
    Error::new(format!("{what} {} cannot be read; check the path and its rights", shown(path)))
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

/// Percent-decodes a query value.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_taken_from_a_url_and_the_rest_is_left() {
        let (plain, tls) = Tls::of_url(
            "postgresql://u:p@h:1/d?sslmode=verify-full&connect_timeout=3&sslrootcert=%2Fx%20y",
        );
        assert_eq!(plain, "postgresql://u:p@h:1/d?connect_timeout=3");
        assert_eq!(tls.root_cert.as_deref(), Some("/x y"));
        assert_eq!(tls.mode().unwrap(), Mode::VerifyFull);
        assert_eq!(Tls::of_url("postgresql://h/d?sslcert=a&sslkey=b").0, "postgresql://h/d");
    }

    #[test]
    fn only_prefer_and_allow_fall_back() {
        let attempts = |mode: &str, host: Host| {
            let mut tls = Tls::default();
            assert!(mode.is_empty() || tls.set("sslmode", mode));
            tls.attempts(&[host]).unwrap()
        };
        let tcp = || Host::Tcp("h".into());
        assert_eq!(attempts("", tcp()), [SslMode::Require, SslMode::Disable]);
        assert_eq!(attempts("prefer", tcp()), [SslMode::Require, SslMode::Disable]);
        assert_eq!(attempts("allow", tcp()), [SslMode::Disable, SslMode::Require]);
        assert_eq!(attempts("disable", tcp()), [SslMode::Disable]);
        for strict in ["require", "verify-ca", "verify-full"] {
            assert_eq!(attempts(strict, tcp()), [SslMode::Require]);
        }
        #[cfg(unix)]
        assert_eq!(attempts("require", Host::Unix("/run".into())), [SslMode::Disable]);
    }

    #[test]
    fn trusting_the_system_means_verifying_everything() {
        let mode = |mode: &str| {
            let mut tls = Tls::default();
            tls.set("sslrootcert", "system");
            assert!(mode.is_empty() || tls.set("sslmode", mode));
            tls.mode()
        };
        assert_eq!(mode("").unwrap(), Mode::VerifyFull);
        assert_eq!(mode("verify-full").unwrap(), Mode::VerifyFull);
        for weaker in ["disable", "allow", "prefer", "require", "verify-ca"] {
            let error = mode(weaker).unwrap_err();
            assert!(error.to_string().contains("verify-full"), "{error}");
        }
    }
}
