//! Sales by the minute: sums of a window, their course, and the rows themselves.

use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use serde::Serialize;

use super::{Error, Filter, Window};

const KPIS: &str = include_str!("../sql/kpis.sql");
const SERIES: &str = include_str!("../sql/series.sql");
const MINUTES: &str = include_str!("../sql/minutes.sql");

/// The sums of a window. Money is exact decimals as text; what is not known is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kpis {
    pub orders: i64,
    pub orders_per_minute: f64,
    pub revenue: String,
    pub mean_ticket: Option<String>,
    pub tips: String,
    pub items: i64,
    pub feedback: i64,
    pub rating: Option<String>,
    pub nps: Option<f64>,
}

/// The sums of a window.
///
/// # Errors
/// If the database does not answer.
pub async fn kpis(
    client: &impl GenericClient,
    window: &Window,
    filter: &Filter,
) -> Result<Kpis, Error> {
    let statement = client.prepare_cached(KPIS).await?;
    let first = window.first_full_minute();
    let row = client
        .query_one(
            &statement,
            &[&first, &window.end(), &filter.sites(), &filter.services(), &window.from, &first],
        )
        .await?;
    let orders: i64 = row.get(0);
    // Right after a full minute hardly any time has passed: a rate over it would jump.
    let seconds = window.length().as_secs_f64().max(1.0);
    Ok(Kpis {
        orders,
        orders_per_minute: (orders as f64 * 6000.0 / seconds).round() / 100.0,
        revenue: row.get(1),
        mean_ticket: row.get(2),
        tips: row.get(3),
        items: row.get(4),
        feedback: row.get(5),
        rating: row.get(6),
        nps: row.get(7),
    })
}

/// One minute of a course.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    pub minute: Timestamp,
    pub orders: i64,
    pub revenue: String,
}

/// Every minute of a window, those without orders included.
///
/// # Errors
/// If the database does not answer.
pub async fn series(
    client: &impl GenericClient,
    window: &Window,
    filter: &Filter,
) -> Result<Vec<Point>, Error> {
    let statement = client.prepare_cached(SERIES).await?;
    let rows = client
        .query(&statement, &[&window.from, &window.end(), &filter.sites(), &filter.services()])
        .await?;
    let point = |row: tokio_postgres::Row| Point {
        minute: row.get(0),
        orders: row.get(1),
        revenue: row.get(2),
    };
    Ok(rows.into_iter().map(point).collect())
}

/// What one site sold by one service in one minute.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Minute {
    pub minute: Timestamp,
    pub location: String,
    pub service_type: String,
    pub orders: i64,
    pub revenue: String,
    pub tips: String,
    pub items: i64,
    pub feedback: i64,
    pub rating: Option<String>,
    pub nps: Option<f64>,
}

/// By what rows may be sorted.
pub const SORTS: [&str; 10] = [
    "minute",
    "location",
    "service_type",
    "orders",
    "revenue",
    "tips",
    "items",
    "feedback",
    "rating",
    "nps",
];

/// One of [`SORTS`], and whether the largest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    pub by: &'static str,
    pub descending: bool,
}

/// Rows of a window, at most `limit`.
///
/// # Errors
/// If the database does not answer.
pub async fn minutes(
    client: &impl GenericClient,
    window: &Window,
    filter: &Filter,
    sort: Sort,
    limit: i64,
) -> Result<Vec<Minute>, Error> {
    let statement = client.prepare_cached(MINUTES).await?;
    let rows = client
        .query(
            &statement,
            &[
                &window.from,
                &window.end(),
                &filter.sites(),
                &filter.services(),
                &limit,
                &sort.by,
                &sort.descending,
            ],
        )
        .await?;
    let minute = |row: tokio_postgres::Row| Minute {
        minute: row.get(0),
        location: row.get(1),
        service_type: row.get(2),
        orders: row.get(3),
        revenue: row.get(4),
        tips: row.get(5),
        items: row.get(6),
        feedback: row.get(7),
        rating: row.get(8),
        nps: row.get(9),
    };
    Ok(rows.into_iter().map(minute).collect())
}
