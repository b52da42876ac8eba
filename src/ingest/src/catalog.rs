//! Routes meet the real tables: column types, keys, parents and rights are read from the
//! database's catalog once at the start, and anything a route needs and the database lacks is a
//! `Schema` error that names it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join4;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::encode::Kind;
use crate::error::Error;
use crate::preset::{Mode, Preset, RouteSpec, split_table};

/// A route with everything known about its table.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Event type, `*` for every type.
    pub(crate) event: String,
    /// `schema.table` as the preset writes it, for reports and messages.
    pub(crate) table: String,
    pub(crate) mode: Mode,
    /// Mapped columns, the key columns first.
    pub(crate) columns: Vec<Column>,
    pub(crate) key_len: usize,
    pub(crate) parent: Option<Parent>,
    /// CHECK constraints that the mapped columns decide alone.
    pub(crate) checks: Vec<Check>,
    /// Whether COPY does what an insert would: it knows no rules, no views and no row security.
    pub(crate) takes_copy: bool,
}

/// A CHECK constraint as the database's catalog holds it.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) name: String,
    /// SQL over the table's columns.
    pub(crate) expression: String,
    columns: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) kind: Kind,
    /// The type as SQL writes it, for staging tables.
    pub(crate) sql_type: String,
    pub(crate) required: bool,
    /// Whether an insert may write null here for "not known yet", so that an update which
    /// completes the row can be merged into the insert.
    pub(crate) may_wait: bool,
}

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Pointer(String),
    Id,
    Epoch,
    Event,
    ReceivedAt,
    Data,
}

/// The foreign key a route's rows must satisfy.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub(crate) table: String,
    /// Positions of the referencing columns in [`Route::columns`].
    pub(crate) columns: Vec<usize>,
    /// The referenced columns, in the same order.
    pub(crate) references: Vec<String>,
}

/// All routes, parents before children.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub(crate) routes: Vec<Route>,
}

impl Route {
    /// Whether it takes events of every type.
    pub(crate) fn is_for_all(&self) -> bool {
        self.event == "*"
    }
}

/// What the catalog says about one table.
struct Table {
    columns: BTreeMap<String, TableColumn>,
    unique: Vec<Vec<String>>,
    foreign_keys: Vec<ForeignKey>,
    checks: Vec<Check>,
    takes_copy: bool,
}

struct TableColumn {
    kind: Option<Kind>,
    sql_type: String,
    not_null: bool,
    has_default: bool,
    generated: bool,
    may_insert: bool,
    may_update: bool,
    may_select: bool,
}

struct ForeignKey {
    columns: Vec<String>,
    table: String,
    references: Vec<String>,
}

// Each of these four is asked once, for all tables: schemas and names in the order of the answer's
// first column.
const COLUMNS: &str = "
    select w.place, a.attname::text,
           coalesce(nullif(t.typbasetype, 0), t.oid) as base_type,
           case when t.typbasetype <> 0 then t.typtypmod else a.atttypmod end as modifier,
           t.typtype = 'e' as is_enum,
           format_type(a.atttypid, a.atttypmod) as sql_type,
           a.attnotnull, a.atthasdef, a.attgenerated <> '' or a.attidentity = 'a' as generated,
           a.attidentity = 'd' as fills_itself,
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

impl Catalog {
    /// Reads the tables of all routes and binds the routes to them. Routes for event types in
    /// `replaced` (those with processors) are left out; routes for `*` stay.
    pub(crate) async fn read(
        client: &Client,
        preset: &Preset,
        replaced: impl Fn(&str) -> bool,
    ) -> Result<Self, Error> {
        let taken = |spec: &&RouteSpec| spec.event == "*" || !replaced(&spec.event);
        let specs: Vec<&RouteSpec> = preset.routes.iter().filter(taken).collect();
        let names: BTreeSet<&str> = specs.iter().map(|spec| spec.table.as_str()).collect();
        let tables = Table::read(client, names).await?;
        let bind = |spec: &&RouteSpec| {
            tables[spec.table.as_str()].bind(spec).map_err(|problem| {
                Error::schema(format!(
                    "preset {:?}, route {:?} to table {}: {problem}",
                    preset.stream.name, spec.event, spec.table
                ))
            })
        };
        let mut routes = specs.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        for child in 0..routes.len() {
            if let Some(parent) = aligned_parent(&routes[child], &routes)? {
                routes[child].parent = Some(parent);
            }
        }
        Ok(Self { routes: parents_first(routes) })
    }

    /// Whether the preset has a route at all for this type (`*` does not count).
    pub(crate) fn knows(&self, event_type: &str) -> bool {
        self.routes.iter().any(|route| route.event == event_type)
    }

    /// Whether any route names a type; a preset without such routes knows every type.
    pub(crate) fn has_types(&self) -> bool {
        self.routes.iter().any(|route| route.event != "*")
    }
}

impl TableColumn {
    fn of(row: &Row) -> (String, Self) {
        let column = Self {
            kind: Kind::of(row.get("base_type"), row.get("modifier"), row.get("is_enum")),
            sql_type: row.get("sql_type"),
            not_null: row.get("attnotnull"),
            has_default: row.get("atthasdef") || row.get("fills_itself"),
            generated: row.get("generated"),
            may_insert: row.get("may_insert"),
            may_update: row.get("may_update"),
            may_select: row.get("may_select"),
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
    async fn read<'n>(
        client: &Client,
        names: BTreeSet<&'n str>,
    ) -> Result<BTreeMap<&'n str, Self>, Error> {
        let no_schema = |name| Error::config(format!("table {name:?} has no schema"));
        let parts = names.iter().map(|name| split_table(name).ok_or_else(|| no_schema(name)));
        let (schemas, tables): (Vec<&str>, Vec<&str>) =
            parts.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let ask = |sql| {
            let params: [(&(dyn ToSql + Sync), Type); 2] =
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
                columns: columns.iter().filter(of_table).map(TableColumn::of).collect(),
                unique: unique.iter().filter(of_table).map(|row| row.get(1)).collect(),
                foreign_keys: foreign_keys.iter().filter(of_table).map(ForeignKey::of).collect(),
                checks: checks.iter().filter(of_table).map(Check::of).collect(),
            };
            read.insert(name, table);
        }
        Ok(read)
    }

    fn bind(&self, spec: &RouteSpec) -> Result<Route, String> {
        let others = spec.columns.keys().filter(|name| !spec.key.contains(name));
        let columns = spec
            .key
            .iter()
            .chain(others)
            .map(|name| self.bind_column(spec, name))
            .collect::<Result<Vec<_>, _>>()?;
        self.check_key(spec)?;
        self.check_required(spec)?;
        let parent = spec.parent.as_deref().map(|parent| self.bind_parent(spec, parent, &columns));
        Ok(Route {
            event: spec.event.clone(),
            table: spec.table.clone(),
            mode: spec.mode,
            key_len: spec.key.len(),
            parent: parent.transpose()?,
            checks: self
                .checks
                .iter()
                .filter(|check| check.columns.iter().all(|name| spec.columns.contains_key(name)))
                .cloned()
                .collect(),
            columns,
            takes_copy: self.takes_copy,
        })
    }

    fn bind_column(&self, spec: &RouteSpec, name: &str) -> Result<Column, String> {
        let column = self.columns.get(name).ok_or_else(|| {
            format!(
                "column {name:?} does not exist; add it by a migration or remove it from the route"
            )
        })?;
        let kind = column.kind.ok_or_else(|| {
            format!(
                "column {name:?} has the type {}, for which there is no conversion",
                column.sql_type
            )
        })?;
        if column.generated {
            return Err(format!(
                "column {name:?} is generated by the database; remove it from the route"
            ));
        }
        let in_key = spec.key.iter().any(|key| key == name);
        let rights = [
            (column.may_select, "select"),
            (column.may_insert || spec.mode == Mode::Update, "insert"),
            (
                column.may_update || in_key || !matches!(spec.mode, Mode::Update | Mode::Upsert),
                "update",
            ),
        ];
        if let Some((_, right)) = rights.iter().find(|(granted, _)| !granted) {
            return Err(format!("no {right} right on column {name:?}; grant it to this login"));
        }
        let source = match spec.columns[name].as_str() {
            "$id" => Source::Id,
            "$epoch" => Source::Epoch,
            "$event" => Source::Event,
            "$received_at" => Source::ReceivedAt,
            "$data" => Source::Data,
            pointer => Source::Pointer(pointer.to_owned()),
        };
        let needs_value = matches!(
            (&source, kind),
            (
                Source::Id,
                Kind::Uuid | Kind::Bool | Kind::Timestamptz | Kind::Timestamp | Kind::Date
            ) | (
                Source::ReceivedAt,
                Kind::Uuid | Kind::Bool | Kind::Int2 | Kind::Int4 | Kind::Int8
            )
        );
        if needs_value {
            return Err(format!(
                "column {name:?} has the type {}, which cannot hold {:?}",
                column.sql_type, spec.columns[name]
            ));
        }
        Ok(Column {
            name: name.to_owned(),
            source,
            kind,
            sql_type: column.sql_type.clone(),
            required: column.not_null || in_key,
            may_wait: !column.not_null && !column.has_default && column.may_insert,
        })
    }

    /// The key must be what a unique index covers, or duplicates could not be told.
    fn check_key(&self, spec: &RouteSpec) -> Result<(), String> {
        let mut key = spec.key.clone();
        key.sort();
        let covered = self.unique.iter().any(|index| {
            let mut index = index.clone();
            index.sort();
            index == key
        });
        if spec.mode != Mode::Append && !covered {
            return Err(format!(
                "key ({}) has no unique constraint; add one or name the columns of an existing one",
                spec.key.join(", ")
            ));
        }
        Ok(())
    }

    /// A new row must have a value for every column that demands one.
    fn check_required(&self, spec: &RouteSpec) -> Result<(), String> {
        if spec.mode == Mode::Update {
            return Ok(());
        }
        let missing = self.columns.iter().find(|(name, column)| {
            let demands = column.not_null && !column.has_default && !column.generated;
            demands && !spec.columns.contains_key(*name)
        });
        match missing {
            Some((name, _)) => Err(format!(
                "column {name:?} must not be null and has no default, but the route does not map it; map it"
            )),
            None => Ok(()),
        }
    }

    fn bind_parent(
        &self,
        spec: &RouteSpec,
        parent: &str,
        columns: &[Column],
    ) -> Result<Parent, String> {
        let foreign_key =
            self.foreign_keys.iter().find(|key| key.table == parent).ok_or_else(|| {
                format!("there is no foreign key from {} to the parent {parent}", spec.table)
            })?;
        let positions = foreign_key
            .columns
            .iter()
            .map(|name| {
                columns.iter().position(|column| column.name == *name).ok_or_else(|| {
                    format!("column {name:?} references the parent {parent}, but the route does not map it")
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Parent {
            table: parent.to_owned(),
            columns: positions,
            references: foreign_key.references.clone(),
        })
    }
}

/// The parent of a route with its columns in the order of the key of the route that inserts the
/// parent, because a child in the same batch finds it by the encoded key. Columns that encode
/// differently could never be found so; `None` where no route inserts the parent by that key.
fn aligned_parent(child: &Route, routes: &[Route]) -> Result<Option<Parent>, Error> {
    let Some(parent) = &child.parent else { return Ok(None) };
    for inserting in routes.iter().filter(|route| route.table == parent.table) {
        let key = &inserting.columns[..inserting.key_len];
        let place =
            |column: &Column| parent.references.iter().position(|name| *name == column.name);
        let places: Option<Vec<usize>> = key.iter().map(place).collect();
        let Some(places) = places.filter(|places| places.len() == parent.references.len()) else {
            continue;
        };
        let columns: Vec<usize> = places.iter().map(|place| parent.columns[*place]).collect();
        for (own, referenced) in columns.iter().map(|at| &child.columns[*at]).zip(key) {
            if !own.kind.encodes_like(referenced.kind) {
                return Err(Error::schema(format!(
                    "table {}: column {:?} is {}, but its parent's {}.{:?} is {}; give both the same type",
                    child.table,
                    own.name,
                    own.sql_type,
                    parent.table,
                    referenced.name,
                    referenced.sql_type
                )));
            }
        }
        let references = key.iter().map(|column| column.name.clone()).collect();
        return Ok(Some(Parent { table: parent.table.clone(), columns, references }));
    }
    Ok(None)
}

/// Orders routes so that a parent's rows are inserted before its children's, and inserts before
/// the updates that complete them. Routes of equal rank keep the preset's order.
fn parents_first(mut routes: Vec<Route>) -> Vec<Route> {
    let parent_of: BTreeMap<String, String> = routes
        .iter()
        .filter_map(|route| Some((route.table.clone(), route.parent.as_ref()?.table.clone())))
        .collect();
    let depth = |route: &Route| {
        let mut table = &route.table;
        let mut depth = 0usize;
        while let Some(parent) = parent_of.get(table) {
            if parent == table || depth > parent_of.len() {
                break;
            }
            table = parent;
            depth += 1;
        }
        (depth, route.mode == Mode::Update)
    };
    routes.sort_by_key(depth);
    routes
}
