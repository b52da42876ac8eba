//! Who sold most: rankings of sites, services, menu items, categories and methods of payment.

use deadpool_postgres::GenericClient;
use serde::Serialize;

use super::{Error, Filter, Window};

const SALES: &str = include_str!("../sql/top_sales.sql");
const ITEMS: &str = include_str!("../sql/top_items.sql");
const PAYMENTS: &str = include_str!("../sql/payments.sql");

/// What can be ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entity {
    Location,
    ServiceType,
    Item,
    Category,
    PaymentMethod,
}

impl Entity {
    pub const ALL: [Self; 5] =
        [Self::Location, Self::ServiceType, Self::Item, Self::Category, Self::PaymentMethod];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Location => "location",
            Self::ServiceType => "service_type",
            Self::Item => "item",
            Self::Category => "category",
            Self::PaymentMethod => "payment_method",
        }
    }

    /// By what it can be ranked; the first is the usual one.
    pub fn metrics(self) -> &'static [&'static str] {
        match self {
            Self::Location | Self::ServiceType => {
                &["revenue", "orders", "tips", "items", "feedback"]
            }
            Self::Item | Self::Category => &["revenue", "items", "lines"],
            Self::PaymentMethod => &["amount", "payments"],
        }
    }

    /// Whether its roll-up knows hours only.
    pub fn is_hourly(self) -> bool {
        matches!(self, Self::Item | Self::Category)
    }
}

/// What to rank, by what, and how many of them.
#[derive(Clone, Copy, Debug)]
pub struct Ranking {
    pub by: Entity,
    pub metric: &'static str,
    pub n: i64,
}

/// One place of a ranking; fields that its entity does not have are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Top {
    pub key: String,
    /// What to call it: the site's name where it has one.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revenue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tips: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payments: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// Part of all, from 0 to 1; null where all is nothing.
    pub share: Option<f64>,
}

/// The largest of a window. Items and categories are counted by the hour, so theirs is a window
/// widened to [`Window::hours`] by the caller.
///
/// # Errors
/// If the database does not answer.
pub async fn top(
    client: &impl GenericClient,
    window: &Window,
    filter: &Filter,
    ranking: Ranking,
) -> Result<Vec<Top>, Error> {
    let (from, sites, services) = (window.from, filter.sites(), filter.services());
    let until = if ranking.by.is_hourly() { window.end_of_hour() } else { window.end() };
    let by = ranking.by.as_str();
    match ranking.by {
        Entity::Location | Entity::ServiceType => {
            let statement = client.prepare_cached(SALES).await?;
            let rows = client
                .query(
                    &statement,
                    &[&from, &until, &sites, &services, &by, &ranking.metric, &ranking.n],
                )
                .await?;
            let place = |row: tokio_postgres::Row| {
                let key: String = row.get(0);
                let name: Option<String> = row.get(1);
                Top {
                    name: name.unwrap_or_else(|| key.clone()),
                    key,
                    city: row.get(2),
                    orders: row.get(3),
                    revenue: row.get(4),
                    tips: row.get(5),
                    items: row.get(6),
                    feedback: row.get(7),
                    rating: row.get(8),
                    share: row.get(9),
                    ..Top::default()
                }
            };
            Ok(rows.into_iter().map(place).collect())
        }
        Entity::Item | Entity::Category => {
            let statement = client.prepare_cached(ITEMS).await?;
            let rows = client
                .query(
                    &statement,
                    &[&from, &until, &sites, &services, &by, &ranking.metric, &ranking.n],
                )
                .await?;
            let place = |row: tokio_postgres::Row| {
                let key: String = row.get(0);
                Top {
                    name: key.clone(),
                    key,
                    category: row.get(1),
                    lines: row.get(2),
                    items: row.get(3),
                    revenue: row.get(4),
                    share: row.get(5),
                    ..Top::default()
                }
            };
            Ok(rows.into_iter().map(place).collect())
        }
        Entity::PaymentMethod => {
            let statement = client.prepare_cached(PAYMENTS).await?;
            let rows = client
                .query(&statement, &[&from, &until, &sites, &services, &ranking.metric, &ranking.n])
                .await?;
            let place = |row: tokio_postgres::Row| {
                let key: String = row.get(0);
                Top {
                    name: key.clone(),
                    key,
                    payments: row.get(1),
                    amount: row.get(2),
                    share: row.get(3),
                    ..Top::default()
                }
            };
            Ok(rows.into_iter().map(place).collect())
        }
    }
}
