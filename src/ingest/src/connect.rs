//! Connections: libpq's parameters and the meaning libpq gives to `sslmode`, with TLS by rustls.

mod copier;
mod pipe;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pgtls::Tls;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Socket};

use crate::error::{Error, ErrorKind};
pub(crate) use copier::Copier;
use pipe::{Feeds, Piped, Plain};

/// From the first packet to the end of the login, where the connection names no time of its own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The server notices a dead peer in seconds and gives its locks back.
const WRITING: &str = "
    set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3;
    set timezone = 'UTC'; set client_min_messages = warning";

const NAME_WRITER: &str = "select set_config('sse_stream.writer', $1, false)";

/// Where and how to reach the database. Its `Debug` shows no password.
#[derive(Clone)]
pub struct DatabaseConfig {
    config: Config,
    tls: Tls,
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
                _ if tls.set(key, value) => {}
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
        let (plain, tls) = Tls::of_url(url);
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
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        // A peer that has gone without a word is noticed in half a minute, not in hours.
        config.keepalives_idle(Duration::from_secs(10));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(4);
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_secs(30));
        }
        tls.attempts(config.get_hosts())?;
        Ok(Self { config, tls })
    }

    /// Opens a session. The driver's connection task runs on the current runtime until the
    /// returned session is dropped.
    pub(crate) async fn connect(&self) -> Result<Session, Error> {
        let mut refused = None;
        for mode in self.tls.attempts(self.config.get_hosts())? {
            // The driver's own limit ends with the TCP handshake; a hung server would hold us for ever.
            let limit = self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
            let opened = tokio::time::timeout(limit, self.open(*mode)).await.map_err(|_| {
                let seconds = limit.as_secs();
                Error::new(
                    ErrorKind::Database,
                    format!(
                        "cannot connect to {}: no answer within {seconds} s; see that it is up",
                        self.place()
                    ),
                )
            })?;
            match opened? {
                Ok(session) => return Ok(session),
                Err(error) if pgtls::is_refusal(&error) => refused = refused.or(Some(error)),
                Err(error) => return Err(self.failure(error)),
            }
        }
        // The first attempt is the one that was wanted: its error says more.
        Err(refused.map_or_else(|| Error::config("no way to connect"), |error| self.failure(error)))
    }

    /// Opens a session that writes streams.
    pub(crate) async fn connect_to_write(&self) -> Result<Session, Error> {
        let session = self.connect().await?;
        let set_up = session.client.batch_execute(WRITING).await;
        set_up.map_err(|error| Error::database("cannot set up the session", error))?;
        Ok(session)
    }

    /// One attempt. The outer error is ours (files), the inner one the server's or the network's.
    async fn open(&self, mode: SslMode) -> Result<Result<Session, tokio_postgres::Error>, Error> {
        let mut config = self.config.clone();
        let feeds = Feeds::default();
        Ok(match mode {
            // The driver puts nothing between itself and a socket without a name.
            SslMode::Disable if !self.is_tcp() => {
                config.ssl_mode(SslMode::Disable);
                drive(&config, NoTls, None).await
            }
            // Without TLS its files are not even looked at.
            SslMode::Disable => {
                config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
                drive(&config, Piped { tls: Plain, feeds: feeds.clone() }, Some(feeds)).await
            }
            _ => {
                config.ssl_mode(SslMode::Require);
                let tls = self.tls.connector()?;
                drive(&config, Piped { tls, feeds: feeds.clone() }, Some(feeds)).await
            }
        })
    }

    fn failure(&self, error: tokio_postgres::Error) -> Error {
        let doing = format!("cannot connect to {}", self.place());
        match pgtls::advice(&error) {
            Some(next) => {
                let cause = Error::database(&doing, error);
                Error::config(format!("{cause}; {next}")).caused_by(cause)
            }
            None => Error::database(&doing, error),
        }
    }

    fn is_tcp(&self) -> bool {
        let hosts = self.config.get_hosts();
        !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Tcp(_)))
    }

    /// Host, port and database, for messages.
    pub(crate) fn place(&self) -> String {
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

async fn drive<T>(
    config: &Config,
    tls: T,
    feeds: Option<Feeds>,
) -> Result<Session, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("database connection ended: {error}");
        }
    });
    let client = Arc::new(client);
    Ok(Session { copier: Copier { client: client.clone(), feeds }, client, driver })
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

/// A parameter with its type, for statements that are said once: they cost one trip.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// A client and the task that drives it; dropping it closes the connection.
pub(crate) struct Session {
    pub(crate) client: Arc<Client>,
    pub(crate) copier: Copier,
    driver: JoinHandle<()>,
}

impl Session {
    /// Says whose rows this session writes. Triggers that add up what is written keep the sums of
    /// each writer apart by this name, so that writers do not wait for each other.
    pub(crate) async fn name_writer(&self, name: &str) -> Result<(), Error> {
        let named = self.client.execute_typed(NAME_WRITER, &[(&name, Type::TEXT)]).await;
        named.map_err(|error| Error::database("cannot set up the session", error))?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

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
