//! Routes meet the real tables: column types, keys, parents and rights are read from the
//! database's catalog once at the start, and anything a route needs and the database lacks is a
//! `Schema` error that names it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join4;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::connect::Param;
use crate::encode::{Kind, Target, TypeInfo};
use crate::error::Error;
use crate::grow;
pub(crate) use crate::preset::Source;
use crate::preset::{
    ColumnSpec, Missing, Mistyped, Mode, NewFields, Preset, RouteSpec, split_table,
};

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
    pub(crate) drift: Drift,
}

/// What the preset says of data that is not as expected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drift {
    pub(crate) missing: Option<Missing>,
    pub(crate) mistyped: Option<Mistyped>,
    pub(crate) new_fields: Option<NewFields>,
    /// Pointers to fields that are meant to be left alone.
    pub(crate) known: Vec<String>,
    /// Whether any of it may fail the run.
    pub(crate) may_fail: bool,
}

impl Drift {
    fn of(spec: &RouteSpec) -> Self {
        Self {
            missing: spec.missing,
            mistyped: spec.mistyped,
            new_fields: spec.new_fields,
            known: spec.known.clone(),
            may_fail: spec.may_fail(),
        }
    }
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
    pub(crate) target: Target,
    /// The type as SQL writes it, for staging tables.
    pub(crate) sql_type: String,
    pub(crate) required: bool,
    /// Whether an insert may write null here for "not known yet", so that an update which
    /// completes the row can be merged into the insert.
    pub(crate) may_wait: bool,
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
    /// Pointers that the stream itself looks at.
    pub(crate) envelope: Vec<String>,
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
    /// Whether this login may add columns.
    owned: bool,
}

struct TableColumn {
    target: Option<Target>,
    sql_type: String,
    not_null: bool,
    has_default: bool,
    generated: bool,
    may_insert: bool,
    may_update: bool,
    may_select: bool,
    /// The comment of the column.
    remark: String,
}

struct ForeignKey {
    columns: Vec<String>,
    table: String,
    references: Vec<String>,
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
        Ok(Self { routes: parents_first(routes), envelope: preset.stream.pointers() })
    }

    /// The routes without a database to ask: every column holds anything, and null unless it is of
    /// the key.
    pub(crate) fn unbound(preset: &Preset) -> Self {
        let routes = preset.routes.iter().map(|spec| {
            let others = spec.columns.keys().filter(|name| !spec.key.contains(name));
            let columns = spec.key.iter().chain(others).map(|name| Column {
                name: name.clone(),
                source: spec.columns[name].source.clone(),
                target: Target::anything(),
                sql_type: "unknown".into(),
                required: spec.key.contains(name),
                may_wait: false,
            });
            Route {
                event: spec.event.clone(),
                table: spec.table.clone(),
                mode: spec.mode,
                columns: columns.collect(),
                key_len: spec.key.len(),
                parent: None,
                checks: Vec::new(),
                takes_copy: true,
                drift: Drift::of(spec),
            }
        });
        Self { routes: routes.collect(), envelope: preset.stream.pointers() }
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
    async fn read<'n>(
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

    fn bind(&self, spec: &RouteSpec) -> Result<Route, String> {
        match spec.new_fields {
            Some(NewFields::AddColumn) => self.bind_to(&self.grown(spec)?),
            _ => self.bind_to(spec),
        }
    }

    /// The route with the columns that were added for new fields.
    fn grown(&self, spec: &RouteSpec) -> Result<RouteSpec, String> {
        if !self.owned {
            return Err("new_fields = \"add_column\" needs a login that owns the table; grant its role, or use \"dead_letter\"".into());
        }
        let mut spec = spec.clone();
        let mut added = 0;
        for (name, column) in &self.columns {
            let Some(pointer) = column.remark.strip_prefix(grow::MARK) else { continue };
            added += 1;
            let mapped =
                spec.columns.values().any(|known| known.source.pointers().contains(&pointer));
            if !mapped && !spec.columns.contains_key(name) {
                let source = Source::Pointer(pointer.to_owned());
                spec.columns.insert(name.clone(), ColumnSpec { source, form: None });
            }
        }
        if added >= grow::MOST_COLUMNS {
            tracing::warn!(
                "table {} has {added} columns for new fields; more are refused",
                spec.table
            );
            spec.new_fields = Some(NewFields::DeadLetter);
        }
        Ok(spec)
    }

    fn bind_to(&self, spec: &RouteSpec) -> Result<Route, String> {
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
            drift: Drift::of(spec),
        })
    }

    fn bind_column(&self, spec: &RouteSpec, name: &str) -> Result<Column, String> {
        let column = self.columns.get(name).ok_or_else(|| {
            format!(
                "column {name:?} does not exist; add it by a migration or remove it from the route"
            )
        })?;
        let target = column.target.clone().ok_or_else(|| {
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
        let ColumnSpec { source, form } = spec.columns[name].clone();
        let target = fitted(target, &source, form)
            .map_err(|why| format!("column {name:?} ({}): {why}", column.sql_type))?;
        Ok(Column {
            name: name.to_owned(),
            source,
            target,
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

/// The target of a column for values of this source, written in this form. In words, why they could
/// never fit.
fn fitted(
    target: Target,
    source: &Source,
    form: Option<crate::preset::Form>,
) -> Result<Target, String> {
    let target = match form {
        Some(form) => target.formed(form)?,
        None => target,
    };
    if let Some(why) = target.lacks() {
        return Err(why.into());
    }
    let is_json = matches!(target.kind, Kind::Json | Kind::Jsonb) && !target.is_array();
    let is_text = matches!(target.kind, Kind::Text { .. }) && !target.is_array();
    let fits = match source {
        Source::Id => {
            let numbers = [Kind::Int2, Kind::Int4, Kind::Int8, Kind::Float4, Kind::Float8];
            let numeric = matches!(target.kind, Kind::Numeric { .. });
            target.is_plain() && (is_text || is_json || numeric || numbers.contains(&target.kind))
        }
        Source::ReceivedAt => {
            let times = [Kind::Timestamptz, Kind::Timestamp];
            target.is_plain() && (is_text || times.contains(&target.kind))
        }
        Source::DataJson => is_json && target.is_plain(),
        Source::DataText => is_text && target.is_plain(),
        Source::Const(json) => {
            let mut out = Vec::new();
            target.put_json(&mut out, json.as_str().into()).is_ok()
        }
        _ => true,
    };
    if fits { Ok(target) } else { Err(format!("cannot hold {source}")) }
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
            if !own.target.encodes_like(&referenced.target) {
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
