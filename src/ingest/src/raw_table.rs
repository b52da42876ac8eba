//! A table that takes every event of a feed as it came, for those who want no routes.

use tokio_postgres::Client;

use crate::connect::DatabaseConfig;
use crate::error::Error;
use crate::land::statements::{ident, qualified};
use crate::preset::{Preset, RouteSpec, split_table};

/// Where the raw events of a run go.
#[derive(Clone, Debug)]
pub struct RawTable {
    /// `schema.table`.
    pub table: String,
    /// Whether to create it, its schema and the engine's own tables, where they are missing.
    pub create: bool,
}

const LOCK: &str = "select pg_advisory_xact_lock(hashtextextended('sse_stream/raw_table', 0))";
const EXISTS: &str = "select to_regclass($1) is not null, to_regnamespace($2) is not null";

impl RawTable {
    /// The statements that create it, for people.
    ///
    /// # Errors
    /// `Config` where the name is not `schema.table`.
    pub fn ddl(&self) -> Result<String, Error> {
        let (schema, _) = self.parts()?;
        Ok(schema_sql(schema) + &self.table_sql()?)
    }

    /// Adds the route that lands all events here.
    ///
    /// # Errors
    /// `Config` where the name is not `schema.table`.
    pub fn add_to(&self, preset: &mut Preset) -> Result<(), Error> {
        self.parts()?;
        preset.routes.push(RouteSpec::raw(&self.table));
        Ok(())
    }

    fn parts(&self) -> Result<(&str, &str), Error> {
        split_table(&self.table).ok_or_else(|| {
            Error::config(format!(
                "the raw table {:?} must be written as \"schema.table\"",
                self.table
            ))
        })
    }

    fn table_sql(&self) -> Result<String, Error> {
        let (_, name) = self.parts()?;
        let (table, key) = (qualified(&self.table), ident(&format!("{name}_pkey")));
        Ok(format!(
            "create table if not exists {table} (
    epoch text collate \"C\" not null,
    event_offset bigint not null,
    sse_id text,
    event_type text not null,
    received_at timestamptz not null default clock_timestamp(),
    data jsonb,
    data_text text,
    constraint {key} primary key (epoch, event_offset)
);
comment on table {table} is 'Every event of a feed as it came, landed by sse_stream.';
comment on column {table}.epoch is 'the history that event_offset belongs to, empty where the source names none';
comment on column {table}.event_offset is 'where the event stands in its history';
comment on column {table}.sse_id is 'the id as the source wrote it, null where it wrote none';
comment on column {table}.event_type is 'the type, message where the source named none';
comment on column {table}.received_at is 'when the row was written';
comment on column {table}.data is 'the data where it is JSON';
comment on column {table}.data_text is 'the data where it is no JSON that jsonb can hold';
"
        ))
    }

    /// Sees to it that the table is there.
    ///
    /// # Errors
    /// `Schema` with the statements to create it, where it is missing and not to be created.
    pub(crate) async fn prepare(&self, database: &DatabaseConfig) -> Result<(), Error> {
        self.parts()?;
        if self.create {
            // The books must be there before anything can land.
            crate::migrate(database, "", &[]).await?;
        }
        let session = database.connect().await?;
        let missing = self.missing(&session.client).await?;
        match missing {
            None => Ok(()),
            Some(_) if !self.create => Err(Error::schema(format!(
                "table {} does not exist; let the run create it (auto_create), or run:\n{}",
                self.table,
                self.ddl()?
            ))),
            Some(sql) => {
                let failed = |error| {
                    Error::database(&format!("cannot create the raw table {}", self.table), error)
                };
                // Several statements without parameters are one transaction.
                session.client.batch_execute(&format!("{LOCK};\n{sql}")).await.map_err(failed)?;
                tracing::info!("created table {} for raw events", self.table);
                Ok(())
            }
        }
    }

    /// The statements for what is missing.
    async fn missing(&self, client: &Client) -> Result<Option<String>, Error> {
        let (schema, _) = self.parts()?;
        let doing = format!("cannot look for the raw table {}", self.table);
        let row = client
            .query_one(EXISTS, &[&qualified(&self.table), &ident(schema)])
            .await
            .map_err(|error| Error::database(&doing, error))?;
        let (table, has_schema): (bool, bool) = (row.get(0), row.get(1));
        if table {
            return Ok(None);
        }
        let schema = if has_schema { String::new() } else { schema_sql(schema) };
        Ok(Some(schema + &self.table_sql()?))
    }
}

fn schema_sql(schema: &str) -> String {
    format!("create schema if not exists {};\n", ident(schema))
}
