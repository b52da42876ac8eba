//! Routes meet the real tables: column types, keys, parents and rights are read from the
//! database's catalog once at the start, and anything a route needs and the database lacks is a
//! `Schema` error that names it.

mod bind;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;

use crate::encode::Target;
use crate::error::Error;
pub(crate) use crate::preset::Source;
use crate::preset::{Missing, Mistyped, Mode, NewFields, Preset, RouteSpec};
use table::Table;

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
