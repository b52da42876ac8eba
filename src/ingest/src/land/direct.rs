//! The direct path: rows of events that are provably new go straight into their tables by COPY.
//! Whatever the database refuses here is left to the staged path, which can tell row from row.

use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream as streams};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};

use super::Lander;
use super::judge::refusal;
use super::stage::{self, Fill};
use super::statements::RouteSql;
use crate::batch::{Batch, Fate, RouteRows};
use crate::catalog::{Catalog, Route};
use crate::error::Error;
use crate::preset::Mode;

/// Values of an update route that travel with an insert of the same batch, by key.
type Fills<'b> = HashMap<&'b [u8], &'b [u8]>;

/// A route with the statement that brings its rows, where it can go this way.
pub(super) struct Straight {
    mode: Mode,
    columns: usize,
    statement: Option<Statement>,
    fills: Vec<Fill>,
}

pub(super) async fn prepare(client: &Client, catalog: &Catalog) -> Result<Vec<Straight>, Error> {
    let route = async |(index, route): (usize, &Route)| {
        let fills = stage::fills_of(index, catalog);
        let sql = RouteSql::new(index, route, &stage::filled_columns(&fills, catalog));
        let statement = match &sql.direct {
            Some(text) => Some(client.prepare(text).await.map_err(|error| {
                Error::database(&format!("cannot prepare the route to {}", route.table), error)
            })?),
            None => None,
        };
        Ok(Straight { mode: route.mode, columns: route.columns.len(), statement, fills })
    };
    try_join_all(catalog.routes.iter().enumerate().map(route)).await
}

/// Which values travel with which rows.
struct Plan<'b> {
    /// By insert route: one map for each update route that may travel with it.
    fills: Vec<Vec<Fills<'b>>>,
    /// By update route: its rows that no insert of this batch takes along.
    lone: Vec<Vec<&'b [u8]>>,
}

impl Lander {
    /// Whether the batch can land without comparison if all its events are new.
    pub(crate) fn can_land_directly(&self, batch: &Batch) -> bool {
        let mut routes = self.direct.iter().zip(&batch.rows);
        let mut pending = batch.events.iter().filter(|event| event.fate == Fate::Pending);
        routes.all(|(route, rows)| route.statement.is_some() || rows.rows.is_empty())
            && !pending.any(|event| self.host.processor(batch.event_type(event)))
    }

    /// Copies all rows of the batch into their tables, parents first, and returns how many by
    /// route. `None` where the database refused something: then the transaction is broken.
    ///
    /// All statements go out at once where the session can queue them.
    pub(crate) async fn land_directly(&self, batch: &Batch) -> Result<Option<Vec<u64>>, Error> {
        let Some(plan) = self.plan(batch) else { return Ok(None) };
        let landings = (0..self.direct.len()).map(|index| self.land_route(batch, &plan, index));
        let landed: Result<Vec<Option<u64>>, _> = if self.copier.can_queue() {
            try_join_all(landings).await
        } else {
            streams::iter(landings).then(|landing| landing).try_collect().await
        };
        match landed {
            // `None` where one of them found less than it was to complete.
            Ok(counts) => Ok(counts.into_iter().collect()),
            Err(error) if refusal(&error).is_some() => {
                tracing::debug!("the staged path decides on a batch: {error}");
                Ok(None)
            }
            Err(error) => Err(Error::database("cannot land the batch", error)),
        }
    }

    async fn land_route(
        &self,
        batch: &Batch,
        plan: &Plan<'_>,
        index: usize,
    ) -> Result<Option<u64>, tokio_postgres::Error> {
        let route = &self.direct[index];
        match &route.statement {
            None => Ok(Some(0)),
            Some(statement) if route.mode == Mode::Update => {
                self.complete(statement, index, &plan.lone[index]).await
            }
            Some(statement) => {
                self.copy(statement, index, &batch.rows[index], &plan.fills[index]).await
            }
        }
    }

    /// `None` where two events complete the same row: their order matters, and one may be wrong.
    fn plan<'b>(&self, batch: &'b Batch) -> Option<Plan<'b>> {
        let count = self.direct.len();
        let mut plan = Plan { fills: vec![Vec::new(); count], lone: vec![Vec::new(); count] };
        for (index, route) in self.direct.iter().enumerate() {
            for fill in &route.fills {
                let rows = &batch.rows[fill.route];
                let values: Fills<'b> =
                    rows.rows.iter().map(|row| (rows.key(row), rows.rest(row))).collect();
                if values.len() < rows.rows.len() {
                    return None;
                }
                plan.fills[index].push(values);
            }
        }
        for (index, route) in self.direct.iter().enumerate() {
            if route.mode != Mode::Update {
                continue;
            }
            let takes = |taker: &Straight| taker.fills.iter().any(|fill| fill.route == index);
            let takers = self.direct.iter().zip(&batch.rows).filter(|(taker, _)| takes(taker));
            let taken: HashSet<&[u8]> = takers.flat_map(|(_, rows)| rows.keys()).collect();
            let rows = &batch.rows[index];
            let lone = rows.rows.iter().filter(|row| !taken.contains(rows.key(row)));
            plan.lone[index] = lone.map(|row| rows.fields(row)).collect();
        }
        Some(plan)
    }

    async fn copy(
        &self,
        statement: &Statement,
        index: usize,
        rows: &RouteRows,
        fills: &[Fills<'_>],
    ) -> Result<Option<u64>, tokio_postgres::Error> {
        if rows.rows.is_empty() {
            return Ok(Some(0));
        }
        let route = &self.direct[index];
        let filled: usize = route.fills.iter().map(|fill| fill.columns).sum();
        let field_count = (route.columns + filled) as i16;
        let copied = self.copier.copy(statement, field_count, &rows.rows, |row, out| {
            out.put_slice(rows.fields(row));
            stage::put_fills(&route.fills, fills, rows.key(row), out);
        });
        copied.await.map(Some)
    }

    /// Fills the open columns of rows that landed before. `None` unless each of them was there and
    /// open.
    async fn complete(
        &self,
        statement: &Statement,
        index: usize,
        rows: &[&[u8]],
    ) -> Result<Option<u64>, tokio_postgres::Error> {
        if rows.is_empty() {
            return Ok(Some(0));
        }
        let columns = Array::columns(rows, self.direct[index].columns);
        let params: Vec<&(dyn ToSql + Sync)> =
            columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
        let changed = self.client.execute(statement, &params).await?;
        Ok((changed == rows.len() as u64).then_some(changed))
    }
}

/// One column of encoded rows as an array parameter.
#[derive(Debug)]
struct Array {
    count: i32,
    has_null: bool,
    /// Elements as COPY has them: length and bytes.
    elements: Vec<u8>,
}

impl Array {
    /// Turns rows of fields into columns.
    fn columns(rows: &[&[u8]], columns: usize) -> Vec<Self> {
        let new = || Self { count: rows.len() as i32, has_null: false, elements: Vec::new() };
        let mut arrays: Vec<Self> = (0..columns).map(|_| new()).collect();
        for row in rows {
            let mut fields = *row;
            for array in &mut arrays {
                let Some(head) = fields.first_chunk::<4>() else { break };
                let len = i32::from_be_bytes(*head);
                let (field, rest) = fields.split_at(4 + usize::try_from(len).unwrap_or(0));
                array.has_null |= len < 0;
                array.elements.extend_from_slice(field);
                fields = rest;
            }
        }
        arrays
    }
}

impl ToSql for Array {
    /// The binary form of an array (`array_send`): dimensions, whether there are nulls, the
    /// element's type, length and lower bound, then the elements.
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Kind::Array(element) = ty.kind() else { return Err("not an array".into()) };
        out.put_i32(1);
        out.put_i32(self.has_null.into());
        out.put_u32(element.oid());
        out.put_i32(self.count);
        out.put_i32(1);
        out.put_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}
