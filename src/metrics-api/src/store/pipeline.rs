//! The engine's books, as far as they tell how fresh and how complete the data is.

use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use serde::Serialize;

use super::Error;

const STREAMS: &str = include_str!("../sql/streams.sql");
const DATA_AGE: &str = include_str!("../sql/data_age.sql");
const RUNS: &str = include_str!("../sql/runs.sql");
const SITES: &str = include_str!("../sql/sites.sql");

/// Runs that are shown.
const RUNS_SHOWN: i64 = 10;

/// Where a stream stood when it was looked at.
#[derive(Clone, Debug)]
pub struct Stream {
    pub stream: String,
    pub shard: i32,
    pub writers: i32,
    pub epoch: Option<String>,
    pub position: i64,
    pub highest: i64,
    /// Seconds since the source was last heard; `None` if it never was.
    pub heard_age: Option<f64>,
    pub dead_letters: i64,
    pub gaps: i64,
    pub missed: i64,
    pub waiting: i64,
}

/// One run of a task that reads the stream.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    #[serde(skip)]
    pub stream: String,
    pub dag_id: String,
    pub run_id: String,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub events: i64,
    pub rows: i64,
    pub dead_letters: i64,
    pub stop_reason: Option<String>,
    pub error: Option<String>,
    pub log_url: Option<String>,
    /// Seconds since it ended, or since it began if it runs.
    #[serde(skip)]
    pub age: f64,
}

impl Run {
    /// Whether it ended by an error, or was found dead by the next one.
    pub fn has_failed(&self) -> bool {
        self.error.is_some() || self.stop_reason.as_deref() == Some("lost")
    }
}

/// Everything about the pipeline at one instant.
#[derive(Clone, Debug)]
pub struct Books {
    pub streams: Vec<Stream>,
    /// Seconds since the time of the newest order; `None` without any.
    pub data_age: Option<f64>,
    /// Orders of the last five minutes.
    pub recent_orders: i64,
    /// The newest runs, newest first.
    pub runs: Vec<Run>,
}

/// Reads the books of a stream and its shards.
///
/// # Errors
/// If the database does not answer.
pub async fn books(client: &impl GenericClient, stream: &str) -> Result<Books, Error> {
    let statement = client.prepare_cached(STREAMS).await?;
    let rows = client.query(&statement, &[&stream]).await?;
    let line = |row: tokio_postgres::Row| Stream {
        stream: row.get(0),
        shard: row.get(1),
        writers: row.get(2),
        epoch: row.get(3),
        position: row.get(4),
        highest: row.get(5),
        heard_age: row.get(6),
        dead_letters: row.get(7),
        gaps: row.get(8),
        missed: row.get(9),
        waiting: row.get(10),
    };
    let streams = rows.into_iter().map(line).collect();
    let statement = client.prepare_cached(DATA_AGE).await?;
    let ages = client.query_one(&statement, &[]).await?;
    let statement = client.prepare_cached(RUNS).await?;
    let rows = client.query(&statement, &[&stream, &RUNS_SHOWN]).await?;
    let run = |row: tokio_postgres::Row| Run {
        stream: row.get(0),
        dag_id: row.get(1),
        run_id: row.get(2),
        started_at: row.get(3),
        ended_at: row.get(4),
        events: row.get(5),
        rows: row.get(6),
        dead_letters: row.get(7),
        stop_reason: row.get(8),
        error: row.get(9),
        log_url: row.get(10),
        age: row.get(11),
    };
    let runs = rows.into_iter().map(run).collect();
    Ok(Books { streams, data_age: ages.get(0), recent_orders: ages.get(1), runs })
}

/// A site, or a code that sold without standing among the sites.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Site {
    pub code: String,
    pub name: Option<String>,
    pub city: Option<String>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    pub time_zone: Option<String>,
}

/// All sites by code.
///
/// # Errors
/// If the database does not answer.
pub async fn sites(client: &impl GenericClient) -> Result<Vec<Site>, Error> {
    let statement = client.prepare_cached(SITES).await?;
    let site = |row: tokio_postgres::Row| Site {
        code: row.get(0),
        name: row.get(1),
        city: row.get(2),
        latitude: row.get(3),
        longitude: row.get(4),
        time_zone: row.get(5),
    };
    Ok(client.query(&statement, &[]).await?.into_iter().map(site).collect())
}
