//! The SQL of one route: its staging table and the statements that compare, insert and complete.
//! Built once at the start from catalog names; event content never becomes SQL text.

use std::fmt::Write;

use crate::catalog::{Column, Route, Source};
use crate::encode::Kind;
use crate::preset::{Mode, split_table};

/// The texts for one route. `None` where the route has no such step.
pub(crate) struct RouteSql {
    pub(crate) create_stage: String,
    pub(crate) copy: String,
    /// Brings rows that are provably new: COPY into the table, or for `update` the completion of
    /// rows that are there, from one array per column. None where only comparison can tell.
    pub(crate) direct: Option<String>,
    /// Staged rows that a CHECK constraint refuses: event, and the constraint's name.
    pub(crate) misfits: Option<String>,
    /// Staged rows whose key the table already has: event, and whether the content is the same.
    pub(crate) present: Option<String>,
    /// Staged rows for `update`: event, whether the row exists, may be filled, is already filled,
    /// and the key as text.
    pub(crate) fill_state: Option<String>,
    /// Staged rows whose parent the database does not have: event, and the parent's key as text.
    pub(crate) orphans: Option<String>,
    /// Moves staged rows into the table, all but the events in `$1` (or only them, for `only`).
    pub(crate) land: String,
    pub(crate) land_only: String,
}

/// Quotes an identifier.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Quotes `schema.table`.
pub(crate) fn qualified(table: &str) -> String {
    match split_table(table) {
        Some((schema, table)) => format!("{}.{}", ident(schema), ident(table)),
        None => ident(table),
    }
}

/// The staging table of a route.
pub(super) fn stage_table(index: usize) -> String {
    format!("pg_temp.stage_{index}")
}

impl RouteSql {
    /// `fills` are columns of update routes whose values travel with this route's rows when both
    /// stand in one batch: name and type.
    pub(crate) fn new(index: usize, route: &Route, fills: &[(String, String)]) -> Self {
        let stage = stage_table(index);
        let table = qualified(&route.table);
        let names: Vec<String> = route.columns.iter().map(|column| ident(&column.name)).collect();
        let (key, rest) = names.split_at(route.key_len);
        let all: Vec<String> =
            names.iter().cloned().chain(fills.iter().map(|(name, _)| ident(name))).collect();

        let mut create_stage =
            format!("create temp table if not exists stage_{index} (_event integer not null");
        let types = route.columns.iter().map(|column| column.sql_type.as_str());
        let types = types.chain(fills.iter().map(|(_, sql_type)| sql_type.as_str()));
        for (name, sql_type) in all.iter().zip(types) {
            let _ = write!(create_stage, ", {name} {sql_type}");
        }
        create_stage.push_str(") on commit delete rows");

        // A lateral lookup with a limit is always answered through the key's index, whatever the
        // planner believes about the size of a fresh temporary table.
        let by_key = |alias: &str| {
            let matches: Vec<String> =
                key.iter().map(|name| format!("t.{name} = {alias}.{name}")).collect();
            matches.join(" and ")
        };
        let found =
            |what: &str| format!("(select {what} from {table} t where {} limit 1)", by_key("s"));
        // An event that comes again is received at another time and says the same.
        let content: Vec<&Column> = route.columns[route.key_len..]
            .iter()
            .filter(|column| column.source != Source::ReceivedAt)
            .collect();
        let same = |left: &str| equal(&content, left, "s");
        let kept = if rest.is_empty() {
            "true as found".to_owned()
        } else {
            format!("true as found, {}", rest.join(", "))
        };
        let misfits = (!route.checks.is_empty()).then(|| {
            let checks: Vec<String> = route
                .checks
                .iter()
                .map(|check| format!("({}, {})", literal(&check.name), check.expression))
                .collect();
            format!(
                "select s._event, c.name from {stage} s cross join lateral (values {}) c (name, holds) where not c.holds",
                checks.join(", ")
            )
        });
        let keyed = matches!(route.mode, Mode::Insert | Mode::Upsert);
        let present = keyed.then(|| {
            format!(
                "select s._event, {} from {stage} s cross join lateral {} f",
                same("f"),
                found(&kept)
            )
        });
        let fill_state = (route.mode == Mode::Update).then(|| {
            let free: Vec<String> = route.columns[route.key_len..]
                .iter()
                .zip(rest)
                .map(|(column, name)| {
                    format!("(f.{name} is null or {})", equal(&[column], "f", "s"))
                })
                .collect();
            format!(
                "select s._event, f.found is not null, {}, {}, {} from {stage} s left join lateral {} f on true",
                free.join(" and "),
                same("f"),
                as_text(route.columns.iter().zip(key).map(|(column, staged)| (column.name.clone(), staged.clone()))),
                found(&kept)
            )
        });
        let orphans = route.parent.as_ref().map(|parent| {
            let columns: Vec<&String> = parent.columns.iter().map(|at| &names[*at]).collect();
            let set: Vec<String> = columns.iter().map(|name| format!("s.{name} is not null")).collect();
            let matches: Vec<String> = columns
                .iter()
                .zip(&parent.references)
                .map(|(name, reference)| format!("p.{} = s.{name}", ident(reference)))
                .collect();
            format!(
                "select s._event, {} from {stage} s where {} and (select true from {} p where {} limit 1) is null",
                as_text(parent.references.iter().cloned().zip(columns.iter().copied().cloned())),
                set.join(" and "),
                qualified(&parent.table),
                matches.join(" and ")
            )
        });

        let direct = match route.mode {
            _ if !route.takes_copy => None,
            // Of arrays of different lengths there is no array.
            Mode::Update if route.columns.iter().any(|column| column.target.is_array()) => None,
            Mode::Insert | Mode::Append => {
                Some(format!("copy {table} ({}) from stdin (format binary)", all.join(", ")))
            }
            Mode::Update => {
                let sets: Vec<String> =
                    rest.iter().map(|name| format!("{name} = s.{name}")).collect();
                let open: Vec<String> =
                    rest.iter().map(|name| format!("t.{name} is null")).collect();
                let arrays: Vec<String> = route
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(at, column)| format!("${}::{}[]", at + 1, column.sql_type))
                    .collect();
                Some(format!(
                    "update {table} t set {} from unnest({}) s ({}) where {} and {}",
                    sets.join(", "),
                    arrays.join(", "),
                    names.join(", "),
                    by_key("s"),
                    open.join(" and ")
                ))
            }
            Mode::Upsert => None,
        };

        let land = |condition: &str| match route.mode {
            Mode::Update => {
                let sets: Vec<String> =
                    rest.iter().map(|name| format!("{name} = s.{name}")).collect();
                format!(
                    "update {table} t set {} from {stage} s where {} and {condition} and not ({})",
                    sets.join(", "),
                    by_key("s"),
                    same("t")
                )
            }
            _ => {
                let list = all.join(", ");
                let values: Vec<String> = all.iter().map(|name| format!("s.{name}")).collect();
                let mut sql = format!(
                    "insert into {table} ({list}) select {} from {stage} s where {condition}",
                    values.join(", ")
                );
                if route.mode == Mode::Upsert {
                    sql.push_str(&upsert_tail(&table, key, rest, &content));
                }
                sql
            }
        };
        Self {
            copy: format!("copy {stage} (_event, {}) from stdin (format binary)", all.join(", ")),
            direct,
            land: land("not (s._event = any($1::integer[]))"),
            land_only: land("s._event = any($1::integer[])"),
            create_stage,
            misfits,
            present,
            fill_state,
            orphans,
        }
    }
}

/// An expression that shows staged columns under some names: `order_id=1, line=2`.
fn as_text(columns: impl Iterator<Item = (String, String)>) -> String {
    let parts: Vec<String> = columns
        .map(|(name, staged)| format!("{} || s.{staged}::text", literal(&format!("{name}="))))
        .collect();
    format!("concat_ws(', ', {})", parts.join(", "))
}

/// Whether both sides have the same content in these columns, as SQL.
fn equal(columns: &[&Column], left: &str, right: &str) -> String {
    let equal: Vec<String> = columns
        .iter()
        .map(|column| {
            // `json` has no equality of its own.
            let cast = match (column.target.kind, column.target.is_array()) {
                (Kind::Json, false) => "::jsonb",
                (Kind::Json, true) => "::jsonb[]",
                _ => "",
            };
            let name = ident(&column.name);
            format!("{left}.{name}{cast} is not distinct from {right}.{name}{cast}")
        })
        .collect();
    if equal.is_empty() { "true".to_owned() } else { equal.join(" and ") }
}

fn upsert_tail(table: &str, key: &[String], rest: &[String], content: &[&Column]) -> String {
    if rest.is_empty() {
        return format!(" on conflict ({}) do nothing", key.join(", "));
    }
    let sets: Vec<String> = rest.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    format!(
        " on conflict ({}) do update set {} where not ({})",
        key.join(", "),
        sets.join(", "),
        equal(content, table, "excluded")
    )
}
