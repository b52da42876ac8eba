//! Tables that grow with their feed: a new field becomes a column, between two batches.
//!
//! The batch is cut before the first event with a new field and what came before it is committed;
//! then the column is added and the run goes on with the routes bound anew. The column's comment
//! names the pointer: that is how every later run knows it, without a word in the preset.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use crate::connect::DatabaseConfig;
use crate::error::Error;
use crate::land::statements::{ident, literal, qualified};

/// A field for which a table is to have a column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Growth {
    /// `schema.table`.
    pub(crate) table: String,
    pub(crate) pointer: String,
}

/// What the comment of an added column begins with; the pointer follows.
pub(crate) const MARK: &str = "sse_stream: ";

/// A source that invents names must not fill the catalog: further new fields are refused.
pub(crate) const MOST_COLUMNS: usize = 50;

const LOCK: &str = "select pg_advisory_xact_lock(hashtextextended('sse_stream/grow', 0))";
const COLUMNS: &str = "
    select a.attname::text, coalesce(col_description(a.attrelid, a.attnum), '')
    from pg_attribute a
    where a.attrelid = to_regclass($1) and a.attnum > 0";

/// Adds the columns that are still missing, in one transaction.
pub(crate) async fn add_columns(
    database: &DatabaseConfig,
    wanted: &BTreeSet<Growth>,
) -> Result<(), Error> {
    let session = database.connect().await?;
    let client = &session.client;
    let failed = |error| Error::database("cannot add columns for new fields", error);
    client.batch_execute(&format!("begin; {LOCK}")).await.map_err(failed)?;
    for growth in wanted {
        add_column(client, growth).await?;
    }
    client.batch_execute("commit").await.map_err(failed)
}

async fn add_column(client: &Client, growth: &Growth) -> Result<(), Error> {
    let Growth { table, pointer } = growth;
    let table_name = qualified(table);
    let doing = format!("cannot add a column to {table} for {pointer:.200}");
    let failed = |error| Error::database(&doing, error);
    let rows = client.query(COLUMNS, &[&table_name]).await.map_err(failed)?;
    let comment = format!("{MARK}{pointer}");
    // Somebody else met the field as well.
    if rows.iter().any(|row| row.get::<_, &str>(1) == comment) {
        return Ok(());
    }
    let taken: BTreeSet<&str> = rows.iter().map(|row| row.get(0)).collect();
    let name = free_name(pointer, &taken);
    let column = ident(&name);
    let sql = format!(
        "alter table {table_name} add column {column} jsonb; comment on column {table_name}.{column} is {}",
        literal(&comment)
    );
    client.batch_execute(&sql).await.map_err(failed)?;
    tracing::warn!("table {table} has a new column {name:?} for the new field {pointer:.200}");
    Ok(())
}

/// A plain name that the table has not.
fn free_name(pointer: &str, taken: &BTreeSet<&str>) -> String {
    let mut name = String::new();
    for char in pointer.chars() {
        match char.to_ascii_lowercase() {
            char if char.is_ascii_lowercase() || char.is_ascii_digit() => name.push(char),
            _ if name.is_empty() || name.ends_with('_') => {}
            _ => name.push('_'),
        }
        if name.len() == 56 {
            break;
        }
    }
    let name = name.trim_end_matches('_');
    let name = match name.chars().next() {
        None => "field".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("_{name}"),
        Some(_) => name.to_owned(),
    };
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names.find(|name| !taken.contains(name.as_str())).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_plain_names_of_their_own() {
        let taken = BTreeSet::from(["a", "a_2", "in_side"]);
        for (pointer, name) in [
            ("/a", "a_3"),
            ("/in/Side", "in_side_2"),
            ("/b~1 c", "b_1_c"),
            ("/1st", "_1st"),
            ("/é", "field"),
            ("/../", "field"),
        ] {
            assert_eq!(free_name(pointer, &taken), name, "{pointer}");
        }
        assert!(free_name(&"x".repeat(500), &taken).len() <= 60);
    }
}
