//! The newest orders, one by one.

use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use serde::Serialize;

use super::{Error, Filter, Window};

const ORDERS: &str = include_str!("../sql/orders.sql");

/// An order as it stands now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Order {
    pub order_id: String,
    pub order_ts: Timestamp,
    pub location: String,
    pub city: Option<String>,
    pub service_type: String,
    pub items: i64,
    /// Null until its payment has come.
    pub total: Option<String>,
    pub payment_method: Option<String>,
    /// Start of the transaction that stored it.
    pub landed_at: Timestamp,
}

/// The newest orders of a window by the time of the order, at most `limit`.
///
/// # Errors
/// If the database does not answer.
pub async fn orders(
    client: &impl GenericClient,
    window: &Window,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<Order>, Error> {
    let statement = client.prepare_cached(ORDERS).await?;
    let rows = client
        .query(&statement, &[&window.from, &filter.sites(), &filter.services(), &limit])
        .await?;
    let order = |row: tokio_postgres::Row| Order {
        order_id: row.get(0),
        order_ts: row.get(1),
        location: row.get(2),
        city: row.get(3),
        service_type: row.get(4),
        items: row.get(5),
        total: row.get(6),
        payment_method: row.get(7),
        landed_at: row.get(8),
    };
    Ok(rows.into_iter().map(order).collect())
}
