//! Opens sessions with the database, with or without TLS as libpq's parameters ask for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::Connect;
use pgtls::{MakeRustlsConnect, Tls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Notification};

pub const CONNECT: Duration = Duration::from_secs(3);
/// A server that is gone without a word is noticed after about this long.
const UNANSWERED: Duration = Duration::from_secs(8);
/// What the server does with a statement that takes longer, or a transaction that is left open.
const SERVER: &str = "-c statement_timeout=5s -c idle_in_transaction_session_timeout=10s \
    -c default_transaction_read_only=on -c timezone=UTC -c jit=off";

/// Where the database is and how to reach it.
#[derive(Clone)]
pub struct Database {
    config: Config,
    attempts: &'static [SslMode],
    tls: MakeRustlsConnect,
}

type Opened = Result<(Client, JoinHandle<()>), tokio_postgres::Error>;

impl Database {
    /// The database that `url` names. Its query may hold libpq's parameters of TLS, whose files are
    /// read here.
    ///
    /// # Errors
    /// If `url` or a file cannot be used. The message quotes nothing of the login.
    pub fn of_url(url: &str) -> Result<Self, String> {
        let (plain, tls) = Tls::of_url(url);
        let mut config: Config = plain.parse().map_err(|_| {
            "DATABASE_URL cannot be understood; give postgresql://USER:PASSWORD@HOST:PORT/NAME"
                .to_owned()
        })?;
        let wrong = |error| format!("DATABASE_URL: {}", crate::store::chain(&error));
        let attempts = tls.attempts(config.get_hosts()).map_err(wrong)?;
        let tls = tls.connector().map_err(wrong)?;
        let options = config.get_options().map_or(SERVER.into(), |own| format!("{SERVER} {own}"));
        config.options(&options).connect_timeout(CONNECT).tcp_user_timeout(UNANSWERED);
        if config.get_application_name().is_none() {
            config.application_name("metrics-api");
        }
        Ok(Self { config, attempts, tls })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Opens a session. Notifications go to `heard` as long as somebody takes them; the task ends
    /// with the connection.
    ///
    /// # Errors
    /// If no kind of connection that is allowed was let in.
    pub async fn open(&self, heard: Option<mpsc::Sender<Notification>>) -> Opened {
        let (last, others) = self.attempts.split_last().unwrap_or((&SslMode::Disable, &[]));
        for mode in others {
            match self.attempt(*mode, heard.clone()).await {
                Err(error) if pgtls::is_refusal(&error) => {}
                answer => return answer,
            }
        }
        self.attempt(*last, heard).await
    }

    async fn attempt(&self, mode: SslMode, heard: Option<mpsc::Sender<Notification>>) -> Opened {
        let mut config = self.config.clone();
        config.ssl_mode(mode);
        if mode == SslMode::Disable {
            let (client, connection) = config.connect(NoTls).await?;
            return Ok((client, tokio::spawn(drive(connection, heard))));
        }
        let (client, connection) = config.connect(self.tls.clone()).await?;
        Ok((client, tokio::spawn(drive(connection, heard))))
    }
}

async fn drive<S, T>(
    mut connection: Connection<S, T>,
    mut heard: Option<mpsc::Sender<Notification>>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notification(said)) => {
                if let Some(heard) = &mut heard
                    && heard.send(said).await.is_err()
                {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!("a session ended: {}", crate::store::chain(&error));
                return;
            }
        }
    }
}

impl Connect for Database {
    fn connect(&self, _: &Config) -> Pin<Box<dyn Future<Output = Opened> + Send + '_>> {
        Box::pin(self.open(None))
    }
}
