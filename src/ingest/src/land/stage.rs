//! Encoded rows into staging tables, by binary COPY.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;

use super::{Exclusions, Lander, Prepared, pending_rows};
use crate::batch::Batch;
use crate::catalog::{Catalog, Route};
use crate::encode::copy;
use crate::preset::Mode;

const COPY_CHUNK: usize = 256 << 10;

/// An update route whose values may travel with an insert, and how many columns it fills.
pub(super) struct Fill {
    pub(super) route: usize,
    columns: usize,
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
        let sink = self.client.copy_in::<_, Bytes>(&prepared.copy).await?;
        futures_util::pin_mut!(sink);
        let filled: usize = prepared.fills.iter().map(|fill| fill.columns).sum();
        let field_count = (1 + prepared.route.columns.len() + filled) as i16;
        let mut buffer = BytesMut::with_capacity(COPY_CHUNK);
        copy::begin(&mut buffer);
        for row in rows {
            let fields = batch.rows[index].fields(&row);
            copy::put_row(&mut buffer, field_count, row.event);
            buffer.put_slice(fields);
            for (fill, values) in prepared.fills.iter().zip(&fills) {
                match values.get(batch.rows[index].key(&row)) {
                    Some(fields) => buffer.put_slice(fields),
                    None => (0..fill.columns).for_each(|_| buffer.put_i32(-1)),
                }
            }
            if buffer.len() >= COPY_CHUNK - (16 << 10) {
                sink.send(buffer.split().freeze()).await?;
                buffer.reserve(COPY_CHUNK);
            }
        }
        copy::end(&mut buffer);
        sink.send(buffer.freeze()).await?;
        sink.finish().await?;
        Ok(())
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
