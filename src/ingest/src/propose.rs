//! The SQL for tables that somebody else has thought of: names and types in, statements out.

use std::fmt::Write;

use serde::Deserialize;

use crate::error::Error;
use crate::preset::split_table;

/// A table to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePlan {
    /// `schema.table`.
    pub table: String,
    pub comment: String,
    /// Columns of the primary key; none for no key.
    pub key: Vec<String>,
    pub columns: Vec<ColumnPlan>,
}

/// A column to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnPlan {
    pub name: String,
    #[serde(rename = "type")]
    pub sql_type: String,
    pub required: bool,
    /// Stands behind it as a comment.
    pub note: String,
}

/// The types that can be proposed.
const TYPES: [&str; 15] = [
    "bigint",
    "boolean",
    "bytea",
    "cidr",
    "date",
    "double precision",
    "inet",
    "integer",
    "json",
    "jsonb",
    "numeric",
    "text",
    "timestamp",
    "timestamptz",
    "uuid",
];

/// Words that cannot be a column's or table's name without quotes.
const RESERVED: &str = " all analyse analyze and any array as asc asymmetric authorization between \
    binary both case cast check collate collation column concurrently constraint create cross \
    current_catalog current_date current_role current_schema current_time current_timestamp \
    current_user default deferrable desc distinct do else end except false fetch for foreign \
    freeze from full grant group having ilike in initially inner intersect into is isnull join \
    lateral leading left like limit localtime localtimestamp natural not notnull null offset on \
    only or order outer overlaps placing primary references returning right select session_user \
    similar some symmetric system_user table tablesample then to trailing true union unique user \
    using variadic verbose when where window with ";

/// The statements that make the tables, for people to read and change.
///
/// # Errors
/// `Config` where a name or type is none.
pub fn propose(tables: &[TablePlan]) -> Result<String, Error> {
    let mut sql = String::new();
    let mut schemas: Vec<&str> = Vec::new();
    for plan in tables {
        let (schema, table) = split_table(&plan.table)
            .ok_or_else(|| Error::config(format!("table {:?} has no schema", plan.table)))?;
        if !schemas.contains(&schema) {
            schemas.push(schema);
            let _ = writeln!(sql, "create schema if not exists {};\n", name(schema));
        }
        let full = format!("{}.{}", name(schema), name(table));
        if !plan.comment.is_empty() {
            let _ = writeln!(sql, "-- {}", line(&plan.comment));
        }
        let _ = writeln!(sql, "create table {full} (");
        for (place, column) in plan.columns.iter().enumerate() {
            if !TYPES.contains(&column.sql_type.as_str()) {
                return Err(Error::config(format!(
                    "column {:?} has the type {:?}, which is not proposed",
                    column.name, column.sql_type
                )));
            }
            let null = if column.required { " not null" } else { "" };
            let last = place + 1 == plan.columns.len() && plan.key.is_empty();
            let comma = if last { "" } else { "," };
            let _ = write!(sql, "    {} {}{null}{comma}", name(&column.name), column.sql_type);
            if !column.note.is_empty() {
                let _ = write!(sql, "  -- {}", line(&column.note));
            }
            sql.push('\n');
        }
        if !plan.key.is_empty() {
            let key: Vec<String> = plan.key.iter().map(|column| name(column)).collect();
            let constraint = name(&format!("{table}_pkey"));
            let _ = writeln!(sql, "    constraint {constraint} primary key ({})", key.join(", "));
        }
        sql.push_str(");\n\n");
    }
    Ok(format!("{}\n", sql.trim_end()))
}

/// A name as people write it: quoted only where it must be.
fn name(name: &str) -> String {
    let plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !RESERVED.contains(&format!(" {name} "))
        && !name.is_empty();
    if plain { name.to_owned() } else { crate::land::statements::ident(name) }
}

/// Text that ends no comment.
fn line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, sql_type: &str) -> TablePlan {
        let column = ColumnPlan {
            name: name.into(),
            sql_type: sql_type.into(),
            required: true,
            note: "a\nb; drop table x".into(),
        };
        TablePlan {
            table: "shop.order".into(),
            comment: String::new(),
            key: vec![name.into()],
            columns: vec![column],
        }
    }

    #[test]
    fn names_are_quoted_where_they_must_be_and_notes_stay_comments() {
        let sql = propose(&[plan("user", "text")]).unwrap();
        assert_eq!(
            sql,
            "create schema if not exists shop;\n\ncreate table shop.\"order\" (\n    \"user\" text not null,  -- a b; drop table x\n    constraint order_pkey primary key (\"user\")\n);\n"
        );
        assert!(propose(&[plan("a\"b", "uuid")]).unwrap().contains("\"a\"\"b\" uuid"));
    }

    #[test]
    fn only_known_types_are_proposed() {
        assert!(propose(&[plan("a", "text); drop table x; --")]).is_err());
        let nowhere = TablePlan { table: "orders".into(), ..plan("a", "text") };
        assert!(propose(&[nowhere]).is_err());
    }
}
