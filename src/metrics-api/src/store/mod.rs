//! The only room that asks the database. It may read and nothing else, and waits for nothing long.

mod figures;
mod letters;
mod orders;
mod pipeline;
mod tops;
mod window;

use std::error::Error as _;
use std::io;
use std::time::Duration;

use deadpool_postgres::{
    Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
    Timeouts, Transaction,
};
use tokio_postgres::IsolationLevel;
use tokio_postgres::error::SqlState;

use crate::connect::{CONNECT, Database};
pub use figures::{Kpis, Minute, Point, SORTS, Sort, kpis, minutes, series};
pub use letters::{Letter, Reason, letters, reasons};
pub use orders::{Order, orders};
pub use pipeline::{Books, Run, Site, Stream, books, sites};
pub use tops::{Entity, Ranking, Top, top};
pub use window::{Filter, Window};

/// A session is waited for this long; who waits longer is told that the service is busy.
const ACQUIRE: Duration = Duration::from_secs(3);
/// A session that does not say within this that it still stands is given up for another.
const RECYCLE: Duration = Duration::from_secs(1);
/// Whole answers are waited for this long: a server that stands still tells nobody so itself.
const PATIENCE: Duration = Duration::from_secs(6);

/// Why the database gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database cannot be reached; see /ready")]
    Unreachable(#[source] Option<tokio_postgres::Error>),
    #[error("no session with the database was free within {} s; try again later", ACQUIRE.as_secs())]
    Busy,
    #[error("the database took longer than 5 s; ask for fewer minutes, or see /ready")]
    Slow,
    #[error("the database lacks {0}; run the restaurant preset's migrations")]
    Schema(String),
    #[error("the database refused a statement ({code}); see the log", code = .0.code().map_or("no code", SqlState::code))]
    Refused(#[source] tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let missing = [
            SqlState::UNDEFINED_TABLE,
            SqlState::UNDEFINED_COLUMN,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::INVALID_SCHEMA_NAME,
            SqlState::INSUFFICIENT_PRIVILEGE,
        ];
        match error.as_db_error() {
            Some(said) if said.code() == &SqlState::QUERY_CANCELED => Self::Slow,
            Some(said) if missing.contains(said.code()) => Self::Schema(said.message().into()),
            // The server is going down, starting up, or has no connection left for us.
            Some(said) if ["57", "53", "08", "28", "3D"].contains(&&said.code().code()[..2]) => {
                Self::Unreachable(Some(error))
            }
            Some(_) => Self::Refused(error),
            // What the driver could not encode or decode is no matter of the connection.
            None if error.source().is_some_and(|cause| !cause.is::<io::Error>()) => {
                Self::Refused(error)
            }
            None => Self::Unreachable(Some(error)),
        }
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        match error {
            // No session could be opened.
            PoolError::Backend(error) => Self::Unreachable(Some(error)),
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy,
            _ => Self::Unreachable(None),
        }
    }
}

/// Sessions with the database.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
}

/// How many sessions there are, and how many wait for one.
#[derive(Clone, Copy, Debug)]
pub struct Sessions {
    pub open: usize,
    pub idle: usize,
    pub waiting: usize,
    pub most: usize,
}

impl Store {
    /// A store over a database; it connects when it is asked something.
    ///
    /// # Errors
    /// If the sessions cannot be managed.
    pub fn new(database: &Database, connections: usize) -> Result<Self, String> {
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let config = database.config().clone();
        let pool = Pool::builder(Manager::from_connect(config, database.clone(), manager))
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(ACQUIRE),
                create: Some(CONNECT),
                recycle: Some(RECYCLE),
            })
            .build()
            .map_err(|error| format!("the sessions cannot be managed: {error}"))?;
        Ok(Self { pool })
    }

    /// A session; see [`snapshot`] for several questions at one instant.
    ///
    /// # Errors
    /// If none could be had in time.
    pub async fn session(&self) -> Result<Client, Error> {
        Ok(self.pool.get().await?)
    }

    pub fn sessions(&self) -> Sessions {
        let status = self.pool.status();
        Sessions {
            open: status.size,
            idle: status.available,
            waiting: status.waiting,
            most: status.max_size,
        }
    }
}

/// What `work` finds out, or [`Error::Slow`] when it takes too long.
///
/// # Errors
/// Those of `work`.
pub async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(Error::Slow))
}

/// Several questions whose answers belong to one instant.
///
/// # Errors
/// If the session is lost.
pub async fn snapshot(session: &mut Client) -> Result<Transaction<'_>, Error> {
    let begin = session.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    Ok(begin.read_only(true).start().await?)
}

/// An error with its causes, for the log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
