//! Events that did not land: how many, why, and the newest of them. Never their bytes.

use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use serde::Serialize;

use super::Error;

const REASONS: &str = include_str!("../sql/letter_reasons.sql");
const LETTERS: &str = include_str!("../sql/letters.sql");

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reason {
    pub reason_code: String,
    pub open: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Letter {
    pub dead_letter_id: i64,
    pub stream: String,
    pub event_offset: Option<i64>,
    pub event_type: Option<String>,
    pub reason_code: String,
    pub reason: String,
    pub created_at: Timestamp,
    pub attempts: i32,
}

/// Open dead letters by reason, the most frequent first.
///
/// # Errors
/// If the database does not answer.
pub async fn reasons(client: &impl GenericClient, stream: &str) -> Result<Vec<Reason>, Error> {
    let statement = client.prepare_cached(REASONS).await?;
    let rows = client.query(&statement, &[&stream]).await?;
    Ok(rows.iter().map(|row| Reason { reason_code: row.get(0), open: row.get(1) }).collect())
}

/// The newest open dead letters, at most `limit`.
///
/// # Errors
/// If the database does not answer.
pub async fn letters(
    client: &impl GenericClient,
    stream: &str,
    reason: Option<&str>,
    limit: i64,
) -> Result<Vec<Letter>, Error> {
    let statement = client.prepare_cached(LETTERS).await?;
    let rows = client.query(&statement, &[&stream, &reason, &limit]).await?;
    let letter = |row: tokio_postgres::Row| Letter {
        dead_letter_id: row.get(0),
        stream: row.get(1),
        event_offset: row.get(2),
        event_type: row.get(3),
        reason_code: row.get(4),
        reason: row.get(5),
        created_at: row.get(6),
        attempts: row.get(7),
    };
    Ok(rows.into_iter().map(letter).collect())
}
