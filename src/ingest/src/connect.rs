//! Connections: libpq's parameters and the meaning libpq gives to `sslmode`, with TLS by rustls.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, ErrorKind};

/// Where and how to reach the database. Its `Debug` shows no password.
#[derive(Clone)]
pub struct DatabaseConfig {
    config: Config,
    tls: Tls,
}

#[derive(Clone, Default)]
struct Tls {
    mode: Option<String>,
    root_cert: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

impl DatabaseConfig {
    /// From libpq's keywords, for example `host`, `port`, `user`, `password`, `dbname`, `sslmode`,
    /// `sslrootcert`, `sslcert`, `sslkey`, `connect_timeout`, `application_name`, `options`,
    /// `keepalives`, `keepalives_idle`, `target_session_attrs`. Others are `Config` errors.
    pub fn from_params<K, V>(params: impl IntoIterator<Item = (K, V)>) -> Result<Self, Error>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut tls = Tls::default();
        let mut conninfo = String::new();
        for (key, value) in params {
            let (key, value) = (key.as_ref(), value.as_ref());
            match key {
                "sslmode" => tls.mode = Some(value.into()),
                "sslrootcert" => tls.root_cert = Some(value.into()),
                "sslcert" => tls.cert = Some(value.into()),
                "sslkey" => tls.key = Some(value.into()),
                "host"
                | "hostaddr"
                | "port"
                | "user"
                | "password"
                | "dbname"
                | "options"
                | "application_name"
                | "connect_timeout"
                | "keepalives"
                | "keepalives_idle"
                | "keepalives_interval"
                | "keepalives_retries"
                | "tcp_user_timeout"
                | "target_session_attrs"
                | "channel_binding"
                | "load_balance_hosts" => {
                    let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
                    conninfo.push_str(&format!("{key}='{quoted}' "));
                }
                _ => {
                    return Err(Error::config(format!(
                        "database parameter {key:?} is not supported; remove it from the connection"
                    )));
                }
            }
        }
        Self::parse(&conninfo, tls)
    }

    /// From a `postgresql://` URL. `sslmode`, `sslrootcert`, `sslcert` and `sslkey` may stand in
    /// its query.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut tls = Tls::default();
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => tls.mode = Some(value.into()),
                Some(("sslrootcert", value)) => tls.root_cert = Some(unescape(value)),
                Some(("sslcert", value)) => tls.cert = Some(unescape(value)),
                Some(("sslkey", value)) => tls.key = Some(unescape(value)),
                _ => rest.push(pair),
            }
        }
        let mut plain = base.to_owned();
        if !rest.is_empty() {
            plain.push('?');
            plain.push_str(&rest.join("&"));
        }
        if !plain.starts_with("postgres://") && !plain.starts_with("postgresql://") {
            return Err(Error::config(
                "the database URL does not start with postgresql://; write postgresql://user:password@host:5432/database",
            ));
        }
        Self::parse(&plain, tls)
    }

    fn parse(conninfo: &str, tls: Tls) -> Result<Self, Error> {
        // The driver's message may quote the value, so only its fixed part is shown.
        let mut config: Config = conninfo.parse().map_err(|_| {
            Error::config(
                "the database connection has a malformed parameter; check host, port and options",
            )
        })?;
        if config.get_application_name().is_none() {
            config.application_name("sse_stream");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        config.keepalives_idle(Duration::from_secs(15));
        config.ssl_mode(match tls.mode.as_deref().unwrap_or("prefer") {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            "require" | "verify-ca" | "verify-full" => SslMode::Require,
            other => {
                return Err(Error::config(format!(
                    "sslmode {other:?} is unknown; use disable, prefer, require, verify-ca or verify-full"
                )));
            }
        });
        Ok(Self { config, tls })
    }

    /// Opens a session. The driver's connection task runs on the current runtime until the
    /// returned session is dropped.
    pub(crate) async fn connect(&self) -> Result<Session, Error> {
        let connector = MakeRustlsConnect::new(self.tls.client_config()?);
        let (client, connection) = self.config.connect(connector).await.map_err(|error| {
            Error::database(&format!("cannot connect to {}", self.place()), error)
        })?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("database connection ended: {error}");
            }
        });
        Ok(Session { client: Arc::new(client), driver })
    }

    /// Host, port and database, for messages.
    pub(crate) fn place(&self) -> String {
        use tokio_postgres::config::Host;
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".into(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        format!("database {}@{host}:{port}", self.config.get_dbname().unwrap_or("?"))
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

/// A client and the task that drives it; dropping it closes the connection.
pub(crate) struct Session {
    pub(crate) client: Arc<Client>,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Tls {
    /// libpq's rules: up to `require` nothing is verified unless a root certificate is given;
    /// `verify-ca` verifies the chain, `verify-full` the name as well.
    fn client_config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let mode = self.mode.as_deref().unwrap_or("prefer");
        let verifies =
            mode.starts_with("verify") || (mode == "require" && self.root_cert.is_some());
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
            if mode == "verify-full" { chain } else { Arc::new(ChainOnly(chain)) }
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
                let chain = certificates(cert)?;
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
                for certificate in certificates(path)? {
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

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable("certificate", path, error))
}

fn unreadable(
    what: &str,
    path: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("{what} {path:?} cannot be read; check the path and its rights"),
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
    fn tls_parameters_are_taken_from_the_url() {
        let config = DatabaseConfig::from_url(
            "postgresql://u:p@h:1/d?sslmode=verify-full&sslrootcert=%2Fx%20y&connect_timeout=3",
        )
        .unwrap();
        assert_eq!(config.tls.mode.as_deref(), Some("verify-full"));
        assert_eq!(config.tls.root_cert.as_deref(), Some("/x y"));
        assert_eq!(config.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(config.config.get_ssl_mode(), SslMode::Require);
    }

    #[test]
    fn nothing_shows_the_password() {
        let config =
            DatabaseConfig::from_params([("host", "h"), ("user", "u"), ("password", "s3cret'\\")])
                .unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
        assert_eq!(config.config.get_password(), Some(&b"s3cret'\\"[..]));
        for bad in ["postgresql://u:s3cret@h:x/d", "mysql://u:s3cret@h/d"] {
            let error = DatabaseConfig::from_url(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }

    #[test]
    fn unknown_parameters_are_named() {
        let error = DatabaseConfig::from_params([("hst", "h")]).unwrap_err();
        assert!(error.to_string().contains("\"hst\""), "{error}");
        let error = DatabaseConfig::from_params([("sslmode", "on")]).unwrap_err();
        assert!(error.to_string().contains("\"on\""), "{error}");
    }
}
