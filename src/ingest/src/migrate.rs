//! The migration runner: numbered SQL scripts, each in its own transaction, recorded with a
//! checksum, under an advisory lock so that two runners do not meet.

use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use crate::connect::DatabaseConfig;
use crate::error::{Error, ErrorKind};

/// One numbered script of an owner.
#[derive(Clone, Debug)]
pub struct Migration {
    pub version: i32,
    pub name: String,
    pub sql: String,
}

/// A migration that [`migrate`] ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub owner: String,
    pub version: i32,
    pub name: String,
}

/// The owner name of this crate's own scripts.
pub(crate) const OWN: &str = "sse_stream";

const LOCK: &str = "select pg_advisory_lock(hashtextextended('sse_stream/migrate', 0))";
const BOOK: &str = "
    create schema if not exists sse_stream;
    create table if not exists sse_stream.migrations (
        owner text not null,
        version integer not null,
        name text not null,
        checksum text not null,
        applied_at timestamptz not null default now(),
        constraint migrations_pkey primary key (owner, version)
    )";
const BOOK_EXISTS: &str = "select to_regclass('sse_stream.migrations') is not null";
const APPLIED: &str = "select version, name, checksum from sse_stream.migrations where owner = $1";
const RECORD: &str =
    "insert into sse_stream.migrations (owner, version, name, checksum) values ($1, $2, $3, $4)";

/// How the database's record of an owner's scripts differs from the scripts: their labels.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Never applied.
    pub(crate) pending: Vec<String>,
    /// Changed after they were applied.
    pub(crate) changed: Vec<String>,
    /// Applied by a newer version of the package.
    pub(crate) unknown: Vec<String>,
}

/// Compares without applying anything.
pub(crate) async fn compare(
    client: &Client,
    owner: &str,
    migrations: &[Migration],
) -> Result<Standing, Error> {
    let rows = client
        .query(APPLIED, &[&owner])
        .await
        .map_err(|e| Error::database("cannot read sse_stream.migrations", e))?;
    let mut standing = Standing::default();
    for migration in migrations {
        let label = format!("{:04} {}", migration.version, migration.name);
        match rows.iter().find(|row| row.get::<_, i32>(0) == migration.version) {
            None => standing.pending.push(label),
            Some(row) if row.get::<_, &str>(2) != checksum(&migration.sql) => {
                standing.changed.push(label);
            }
            Some(_) => {}
        }
    }
    for row in &rows {
        let version: i32 = row.get(0);
        if !migrations.iter().any(|migration| migration.version == version) {
            standing.unknown.push(format!("{version:04} {}", row.get::<_, &str>(1)));
        }
    }
    Ok(standing)
}

/// Brings the database up to date: first this crate's own tables in schema `sse_stream`, then
/// `migrations` under the name `owner`. Already applied scripts are skipped; a script that was
/// changed after it was applied is a `Schema` error. Returns what was run now.
pub async fn migrate(
    database: &DatabaseConfig,
    owner: &str,
    migrations: &[Migration],
) -> Result<Vec<Applied>, Error> {
    let session = database.connect().await?;
    let client = &session.client;
    client
        .batch_execute(LOCK)
        .await
        .map_err(|e| Error::database("cannot lock for migrations", e))?;
    let exists: bool = client
        .query_one(BOOK_EXISTS, &[])
        .await
        .map_err(|e| Error::database("cannot look for sse_stream.migrations", e))?
        .get(0);
    if !exists {
        client
            .batch_execute(BOOK)
            .await
            .map_err(|e| Error::database("cannot create sse_stream.migrations", e))?;
    }
    let mut done = apply(client, OWN, &own_migrations()).await?;
    done.extend(apply(client, owner, migrations).await?);
    Ok(done)
}

async fn apply(
    client: &Client,
    owner: &str,
    migrations: &[Migration],
) -> Result<Vec<Applied>, Error> {
    let rows = client
        .query(APPLIED, &[&owner])
        .await
        .map_err(|e| Error::database("cannot read sse_stream.migrations", e))?;
    let known: Vec<(i32, String, String)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let mut ordered: Vec<&Migration> = migrations.iter().collect();
    ordered.sort_by_key(|migration| migration.version);

    if let Some((version, name, _)) =
        known.iter().find(|(version, ..)| !ordered.iter().any(|m| m.version == *version))
    {
        return Err(Error::schema(format!(
            "the database has migration {owner} {version:04} {name}, which this version does not know; upgrade the package"
        )));
    }
    let mut done = Vec::new();
    for migration in ordered {
        let label = format!("{owner} {:04} {}", migration.version, migration.name);
        let checksum = checksum(&migration.sql);
        if let Some((_, _, applied)) =
            known.iter().find(|(version, ..)| *version == migration.version)
        {
            if *applied != checksum {
                return Err(Error::schema(format!(
                    "migration {label} was changed after it was applied; restore its text and add a new migration instead"
                )));
            }
            continue;
        }
        run_script(client, owner, migration, &checksum).await.map_err(|error| {
            let line = error.as_db_error().and_then(|db| line_of(db.position(), &migration.sql));
            let at = line.map(|n| format!(", line {n}")).unwrap_or_default();
            let failed = Error::database(&format!("migration {label}{at}"), error);
            Error::new(
                if failed.is_transient() { ErrorKind::Database } else { ErrorKind::Schema },
                failed.to_string(),
            )
            .caused_by(failed)
        })?;
        done.push(Applied {
            owner: owner.into(),
            version: migration.version,
            name: migration.name.clone(),
        });
    }
    Ok(done)
}

/// One script and its record in one transaction; an error leaves neither.
async fn run_script(
    client: &Client,
    owner: &str,
    migration: &Migration,
    checksum: &str,
) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("begin").await?;
    let result = async {
        client.batch_execute(&migration.sql).await?;
        client.execute(RECORD, &[&owner, &migration.version, &migration.name, &checksum]).await?;
        client.batch_execute("commit").await
    }
    .await;
    if result.is_err() {
        // The connection may be gone, in which case the server has rolled back already.
        let _ = client.batch_execute("rollback").await;
    }
    result
}

fn line_of(position: Option<&tokio_postgres::error::ErrorPosition>, sql: &str) -> Option<usize> {
    match position? {
        tokio_postgres::error::ErrorPosition::Original(at) => {
            Some(sql.chars().take(*at as usize).filter(|c| *c == '\n').count() + 1)
        }
        tokio_postgres::error::ErrorPosition::Internal { .. } => None,
    }
}

fn checksum(sql: &str) -> String {
    // Line ends may be rewritten by a checkout; the text is what counts.
    let digest = Sha256::digest(sql.replace("\r\n", "\n").as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn own_migrations() -> Vec<Migration> {
    [
        (1, "bookkeeping", include_str!("../migrations/0001_bookkeeping.sql")),
        (2, "retention", include_str!("../migrations/0002_retention.sql")),
    ]
    .into_iter()
    .map(|(version, name, sql)| Migration { version, name: name.into(), sql: sql.into() })
    .collect()
}
