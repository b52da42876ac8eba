//! Encoded rows into staging tables, by binary COPY.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::{BufMut, BytesMut};

use super::{Exclusions, Lander, Prepared, pending_rows};
use crate::batch::Batch;
use crate::catalog::{Catalog, Route};
use crate::preset::Mode;

/// An update route whose values may travel with an insert, and how many columns it fills.
pub(super) struct Fill {
    pub(super) route: usize,
    pub(super) columns: usize,
}

impl Lander {
    /// Copies the slice's rows of one route into its staging table.
    pub(super) async fn stage(
        &self,
        batch: &Batch,
        slice: &Range<usize>,
        index: usize,
        prepared: &Prepared,
        out: &[Exclusions],
    ) -> Result<(), tokio_postgres::Error> {
        let rows = pending_rows(batch, slice, index, &out[index]);
        if rows.is_empty() {
            return Ok(());
        }
        let fills = self.fills_by_key(batch, slice, prepared, out);
        let filled: usize = prepared.fills.iter().map(|fill| fill.columns).sum();
        let field_count = (1 + prepared.route.columns.len() + filled) as i16;
        let copied = self.copier.copy(&prepared.copy, field_count, &rows, |row, out| {
            out.put_i32(4);
            out.put_u32(row.event);
            out.put_slice(batch.rows[index].fields(row));
            put_fills(&prepared.fills, &fills, batch.rows[index].key(row), out);
        });
        copied.await.map(|_| ())
    }

    /// For each update route that may travel with `prepared`: key to the fields it fills.
    fn fills_by_key<'b>(
        &self,
        batch: &'b Batch,
        slice: &Range<usize>,
        prepared: &Prepared,
        out: &[Exclusions],
    ) -> Vec<HashMap<&'b [u8], &'b [u8]>> {
        prepared
            .fills
            .iter()
            .map(|fill| {
                let rows = &batch.rows[fill.route];
                let rivals = &out[fill.route].rivals;
                pending_rows(batch, slice, fill.route, &out[fill.route])
                    .iter()
                    .filter(|row| !rivals.contains(&row.event))
                    .map(|row| (rows.key(row), rows.rest(row)))
                    .collect()
            })
            .collect()
    }
}

/// Appends the values that travel with the row of this key, or nulls.
pub(super) fn put_fills(
    fills: &[Fill],
    values: &[HashMap<&[u8], &[u8]>],
    key: &[u8],
    out: &mut BytesMut,
) {
    for (fill, values) in fills.iter().zip(values) {
        match values.get(key) {
            Some(fields) => out.put_slice(fields),
            None => (0..fill.columns).for_each(|_| out.put_i32(-1)),
        }
    }
}

/// Name and type of the columns that travel.
pub(super) fn filled_columns(fills: &[Fill], catalog: &Catalog) -> Vec<(String, String)> {
    let columns = fills.iter().flat_map(|fill| {
        let route = &catalog.routes[fill.route];
        &route.columns[route.key_len..]
    });
    columns.map(|column| (column.name.clone(), column.sql_type.clone())).collect()
}

/// Update routes that may travel with an insert route of the same table and key.
pub(super) fn fills_of(index: usize, catalog: &Catalog) -> Vec<Fill> {
    let insert = &catalog.routes[index];
    if insert.mode != Mode::Insert {
        return Vec::new();
    }
    let key = |route: &Route| -> Vec<String> {
        route.columns[..route.key_len].iter().map(|column| column.name.clone()).collect()
    };
    let mut taken: HashSet<&str> =
        insert.columns.iter().map(|column| column.name.as_str()).collect();
    let mut fills = Vec::new();
    for (at, update) in catalog.routes.iter().enumerate() {
        let columns = &update.columns[update.key_len..];
        let fits = update.mode == Mode::Update
            && update.table == insert.table
            && key(update) == key(insert)
            && columns
                .iter()
                .all(|column| column.may_wait && !taken.contains(column.name.as_str()));
        if fits {
            taken.extend(columns.iter().map(|column| column.name.as_str()));
            fills.push(Fill { route: at, columns: columns.len() });
        }
    }
    fills
}
