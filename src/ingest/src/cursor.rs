//! The cursor that event processors get: blocking, inside the batch's own transaction, with the
//! placeholders of Python's database drivers.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};

/// One result value: its type's object id and its binary form, `None` for null.
pub type Value = Option<Vec<u8>>;

/// What a statement returned.
#[derive(Debug, Default)]
pub struct Rows {
    /// Name and type (by PostgreSQL's type name) of each column; empty for a command.
    pub columns: Vec<(String, String)>,
    /// Values in PostgreSQL's binary format.
    pub rows: Vec<Vec<Value>>,
    /// Rows returned or changed.
    pub row_count: u64,
}

/// Runs statements in the batch's transaction. Only for use from a blocking thread.
pub struct Cursor {
    client: Arc<Client>,
    runtime: Handle,
}

/// Parameters as text, which the server converts to the type it inferred; `None` is null.
pub type Params<'a> = &'a [(Option<&'a str>, Option<String>)];

impl Cursor {
    pub(crate) fn new(client: Arc<Client>, runtime: Handle) -> Self {
        Self { client, runtime }
    }

    /// Runs one statement. Placeholders are `%s` (positional) or `%(name)s`, and `%%` for a
    /// per cent sign; without parameters the text is sent as it is. The error is the server's
    /// message with its SQLSTATE.
    pub fn execute(&mut self, sql: &str, params: Option<Params<'_>>) -> Result<Rows, String> {
        refuse_transaction_control(sql)?;
        let (sql, values) = match params {
            Some(params) => number_placeholders(sql, params)?,
            None => (sql.to_owned(), Vec::new()),
        };
        self.runtime.block_on(self.run(&sql, &values)).map_err(|error| match error.as_db_error() {
            Some(db) => format!("{} (sqlstate {})", db.message(), db.code().code()),
            None => error.to_string(),
        })
    }

    async fn run(&self, sql: &str, values: &[Text]) -> Result<Rows, tokio_postgres::Error> {
        let statement: Statement = self.client.prepare(sql).await?;
        let params: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
        if statement.columns().is_empty() {
            let row_count = self.client.execute(&statement, &params).await?;
            return Ok(Rows { row_count, ..Rows::default() });
        }
        let rows = self.client.query(&statement, &params).await?;
        let columns = statement
            .columns()
            .iter()
            .map(|column| (column.name().to_owned(), column.type_().name().to_owned()))
            .collect::<Vec<_>>();
        let rows: Vec<Vec<Value>> = rows
            .iter()
            .map(|row| {
                (0..columns.len()).map(|i| row.get::<_, Option<Binary>>(i).map(|b| b.0)).collect()
            })
            .collect();
        Ok(Rows { columns, row_count: rows.len() as u64, rows })
    }
}

/// A processor works inside a transaction and a savepoint that are not its own.
fn refuse_transaction_control(sql: &str) -> Result<(), String> {
    let word =
        skip_comments(sql).split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let forbidden =
        ["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare"];
    if forbidden.iter().any(|f| word.eq_ignore_ascii_case(f)) {
        return Err(format!(
            "{} is not allowed in a processor: the batch owns the transaction; raise an exception to undo",
            word.to_ascii_uppercase()
        ));
    }
    Ok(())
}

/// The statement from its first word on.
fn skip_comments(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        if let Some(line) = rest.strip_prefix("--") {
            rest = line.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(inside) = rest.strip_prefix("/*") {
            rest = after_block(inside);
        } else if let Some(after) = rest.strip_prefix(';') {
            rest = after;
        } else {
            return rest;
        }
        rest = rest.trim_start();
    }
}

/// What follows a block comment that was entered; they nest.
fn after_block(mut rest: &str) -> &str {
    let mut depth = 1;
    while depth > 0 {
        let Some(at) = rest.find("/*").into_iter().chain(rest.find("*/")).min() else { return "" };
        if rest[at..].starts_with("/*") {
            depth += 1;
        } else {
            depth -= 1;
        }
        rest = &rest[at + 2..];
    }
    rest
}

/// Turns `%s` and `%(name)s` into `$1`, `$2`, ...
fn number_placeholders(sql: &str, params: Params<'_>) -> Result<(String, Vec<Text>), String> {
    let mut out = String::with_capacity(sql.len() + 8);
    let mut values = Vec::new();
    let mut positional = params.iter().filter(|(name, _)| name.is_none());
    let mut rest = sql;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let value = if let Some(after) = rest.strip_prefix('s') {
            rest = after;
            let (_, value) =
                positional.next().ok_or("the statement has more %s than parameters")?;
            value
        } else if let Some((name, after)) = rest
            .strip_prefix('(')
            .and_then(|r| r.split_once(')'))
            .and_then(|(n, r)| Some((n, r.strip_prefix('s')?)))
        {
            rest = after;
            let (_, value) =
                params.iter().find(|(known, _)| *known == Some(name)).ok_or_else(|| {
                    format!("the statement uses %({name})s, but no such parameter was given")
                })?;
            value
        } else {
            return Err(
                "the statement has a % that is no placeholder; write %% for a per cent sign".into(),
            );
        };
        values.push(Text(value.clone()));
        out.push_str(&format!("${}", values.len()));
    }
    out.push_str(rest);
    if positional.next().is_some() {
        return Err("the statement has fewer %s than parameters".into());
    }
    Ok((out, values))
}

/// A parameter in text format, whatever its type.
#[derive(Debug)]
struct Text(Option<String>);

impl ToSql for Text {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A result value as it came.
struct Binary(Vec<u8>);

impl<'a> FromSql<'a> for Binary {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(sql: &str, params: Params<'_>) -> Result<(String, Vec<Option<String>>), String> {
        number_placeholders(sql, params).map(|(s, v)| (s, v.into_iter().map(|t| t.0).collect()))
    }

    #[test]
    fn placeholders_become_numbers() {
        let by_place = [(None, Some("a".into())), (None, None)];
        assert_eq!(
            numbered("insert into t values (%s, %s) -- 5%%", &by_place).unwrap(),
            ("insert into t values ($1, $2) -- 5%".into(), vec![Some("a".into()), None])
        );
        let by_name = [(Some("x"), Some("1".into()))];
        assert_eq!(
            numbered("select %(x)s, %(x)s", &by_name).unwrap(),
            ("select $1, $2".into(), vec![Some("1".into()), Some("1".into())])
        );
    }

    #[test]
    fn wrong_counts_and_names_are_errors() {
        let one = [(None, Some("a".into()))];
        assert!(numbered("select %s, %s", &one).unwrap_err().contains("more %s"));
        assert!(numbered("select 1", &one).unwrap_err().contains("fewer %s"));
        assert!(numbered("select %(y)s", &one).unwrap_err().contains("%(y)s"));
        assert!(numbered("select 5 % 2", &[]).unwrap_err().contains("%%"));
    }

    #[test]
    fn the_transaction_is_not_the_processors() {
        for sql in [
            "commit",
            "  ROLLBACK to x",
            "savepoint a",
            "/* x */ commit",
            "/* a /* b */ c */-- d\n ; rollback",
        ] {
            assert!(refuse_transaction_control(sql).is_err(), "{sql}");
        }
        assert!(refuse_transaction_control("insert into t values (1)").is_ok());
        assert!(refuse_transaction_control("with x as (select 1) select * from x").is_ok());
    }
}
