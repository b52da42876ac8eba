//! What the database's catalog says about the tables of a preset.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join4;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::Check;
use crate::connect::Param;
use crate::encode::{Target, TypeInfo};
use crate::error::Error;
use crate::preset::split_table;

/// What the catalog says about one table.
pub(super) struct Table {
    pub(super) columns: BTreeMap<String, TableColumn>,
    pub(super) unique: Vec<Vec<String>>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    pub(super) checks: Vec<Check>,
    pub(super) takes_copy: bool,
    /// Whether this login may add columns.
    pub(super) owned: bool,
}

pub(super) struct TableColumn {
    pub(super) target: Option<Target>,
    pub(super) sql_type: String,
    pub(super) not_null: bool,
    pub(super) has_default: bool,
    pub(super) generated: bool,
    pub(super) may_insert: bool,
    pub(super) may_update: bool,
    pub(super) may_select: bool,
    /// The comment of the column.
    pub(super) remark: String,
}

pub(super) struct ForeignKey {
    pub(super) columns: Vec<String>,
    pub(super) table: String,
    pub(super) references: Vec<String>,
}

// Each of these four is asked once, for all tables: schemas and names in the order of the answer's
// first column. Domains are looked through, at a column's own type and at the items of an array.
const COLUMNS: &str = "
    select w.place, a.attname::text,
           coalesce(nullif(i.typbasetype, 0), i.oid, b.oid) as base_type,
           i.oid as element,
           case when t.typbasetype <> 0 then t.typtypmod
                when i.typbasetype <> 0 then i.typtypmod else a.atttypmod end as modifier,
           (select array_agg(l.enumlabel::text order by l.enumsortorder) from pg_enum l
            where l.enumtypid = coalesce(nullif(i.typbasetype, 0), i.oid, b.oid)) as labels,
           format_type(a.atttypid, a.atttypmod) as sql_type,
           a.attnotnull, a.atthasdef, a.attgenerated <> '' or a.attidentity = 'a' as generated,
           a.attidentity = 'd' as fills_itself,
           coalesce(col_description(c.oid, a.attnum), '') as remark,
           pg_has_role(c.relowner, 'usage') as owned,
           has_column_privilege(c.oid, a.attnum, 'insert') as may_insert,
           has_column_privilege(c.oid, a.attnum, 'update') as may_update,
           has_column_privilege(c.oid, a.attnum, 'select') as may_select,
           c.relkind in ('r', 'p') and not c.relhasrules and not row_security_active(c.oid)
               as takes_copy
    from unnest($1::text[], $2::text[]) with ordinality w (schema, name, place)
    join pg_namespace n on n.nspname = w.schema
    join pg_class c on c.relnamespace = n.oid and c.relname = w.name
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    join pg_type b on b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
    left join pg_type i on i.oid = b.typelem and i.typarray = b.oid
    where c.relkind in ('r', 'p', 'f', 'v')";
const UNIQUE: &str = "
    select w.place,
           array(select a.attname::text from unnest(i.indkey[0:i.indnkeyatts - 1]) k
                 join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k)
    from unnest($1::text[], $2::text[]) with ordinality w (schema, name, place)
    join pg_namespace n on n.nspname = w.schema
    join pg_class c on c.relnamespace = n.oid and c.relname = w.name
    join pg_index i on i.indrelid = c.oid
    where i.indisunique and i.indpred is null and i.indexprs is null";
const FOREIGN_KEYS: &str = "
    select w.place,
           array(select a.attname::text from unnest(k.conkey) with ordinality u(num, place)
                 join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.num order by place),
           pn.nspname || '.' || p.relname,
           array(select a.attname::text from unnest(k.confkey) with ordinality u(num, place)
                 join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.num order by place)
    from unnest($1::text[], $2::text[]) with ordinality w (schema, name, place)
    join pg_namespace n on n.nspname = w.schema
    join pg_class c on c.relnamespace = n.oid and c.relname = w.name
    join pg_constraint k on k.conrelid = c.oid
    join pg_class p on p.oid = k.confrelid
    join pg_namespace pn on pn.oid = p.relnamespace
    where k.contype = 'f'";
// Those that look at the whole row (column 0) cannot be told by some of its columns.
const CHECKS: &str = "
    select w.place, k.conname::text, pg_get_expr(k.conbin, k.conrelid),
           array(select a.attname::text from pg_attribute a
                 where a.attrelid = k.conrelid and a.attnum = any(k.conkey))
    from unnest($1::text[], $2::text[]) with ordinality w (schema, name, place)
    join pg_namespace n on n.nspname = w.schema
    join pg_class c on c.relnamespace = n.oid and c.relname = w.name
    join pg_constraint k on k.conrelid = c.oid
    where k.contype = 'c' and 1 <= all(k.conkey)
    order by k.conname";

impl TableColumn {
    fn of(row: &Row) -> (String, Self) {
        let column = Self {
            target: Target::of(&TypeInfo {
                oid: row.get("base_type"),
                element: row.get("element"),
                modifier: row.get("modifier"),
                labels: row.get("labels"),
            }),
            sql_type: row.get("sql_type"),
            not_null: row.get("attnotnull"),
            has_default: row.get("atthasdef") || row.get("fills_itself"),
            generated: row.get("generated"),
            may_insert: row.get("may_insert"),
            may_update: row.get("may_update"),
            may_select: row.get("may_select"),
            remark: row.get("remark"),
        };
        (row.get(1), column)
    }
}

impl ForeignKey {
    fn of(row: &Row) -> Self {
        Self { columns: row.get(1), table: row.get(2), references: row.get(3) }
    }
}

impl Check {
    fn of(row: &Row) -> Self {
        Self { name: row.get(1), expression: row.get(2), columns: row.get(3) }
    }
}

impl Table {
    /// Reads what is known of these tables, all of which must be there.
    pub(super) async fn read<'n>(
        client: &Client,
        names: BTreeSet<&'n str>,
    ) -> Result<BTreeMap<&'n str, Self>, Error> {
        let no_schema = |name| Error::config(format!("table {name:?} has no schema"));
        let parts = names.iter().map(|name| split_table(name).ok_or_else(|| no_schema(name)));
        let (schemas, tables): (Vec<&str>, Vec<&str>) =
            parts.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let ask = |sql| {
            let params: [Param<'_>; 2] =
                [(&schemas, Type::TEXT_ARRAY), (&tables, Type::TEXT_ARRAY)];
            async move { client.query_typed(sql, &params).await }
        };
        let (columns, unique, foreign_keys, checks) =
            try_join4(ask(COLUMNS), ask(UNIQUE), ask(FOREIGN_KEYS), ask(CHECKS)).await.map_err(
                |error| Error::database("cannot read the catalog for the preset's tables", error),
            )?;
        let mut read = BTreeMap::new();
        for (place, name) in (1..).zip(names) {
            let of_table = |row: &&Row| row.get::<_, i64>(0) == place;
            if !columns.iter().any(|row| of_table(&row)) {
                return Err(Error::schema(format!(
                    "table {name} does not exist; run `python -m sse_stream migrate` with its preset or create it"
                )));
            }
            let table = Self {
                takes_copy: columns.iter().filter(of_table).all(|row| row.get("takes_copy")),
                owned: columns.iter().filter(of_table).all(|row| row.get("owned")),
                columns: columns.iter().filter(of_table).map(TableColumn::of).collect(),
                unique: unique.iter().filter(of_table).map(|row| row.get(1)).collect(),
                foreign_keys: foreign_keys.iter().filter(of_table).map(ForeignKey::of).collect(),
                checks: checks.iter().filter(of_table).map(Check::of).collect(),
            };
            read.insert(name, table);
        }
        Ok(read)
    }
}
