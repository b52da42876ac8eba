//! What a preset would make of events: its routes against the real tables, and a captured stream
//! through the decoder. Nothing is landed.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::batch::{Batch, Event, Fate};
use crate::catalog::Catalog;
use crate::config::RunConfig;
use crate::error::Error;
use crate::host::NoHost;
use crate::intake::Intake;
use crate::offsets::Offset;

/// Binds the routes of `config` to the tables of its database, or, without `connect`, takes every
/// column for one that holds anything; then reads `sample` (the bytes of an event stream) as a run
/// would. Returns the routes with their columns' types, and for each event what would become of
/// it, as far as that can be told without landing: not whether a constraint, a trigger or a row that
/// is there already would object.
///
/// # Errors
/// `Schema` and `Database` where a run would not begin either.
pub async fn validate(config: &RunConfig, sample: &[u8], connect: bool) -> Result<Value, Error> {
    let catalog = if connect {
        let session = config.database.connect().await?;
        Catalog::read(&session.client, &config.preset, |_| false).await?
    } else {
        Catalog::unbound(&config.preset)
    };
    let offset = Offset::default();
    let mut intake = Intake::new(config, &catalog, Arc::new(NoHost), &offset);
    let mut batches = [Batch::new(catalog.routes.len())];
    let mut parser = sse::Parser::new(sse::Limits::default());
    parser.push(Bytes::copy_from_slice(sample));
    while let Some(item) = parser.next() {
        intake.take(item, &mut batches);
    }
    let [batch] = &batches;
    let events: Vec<Value> =
        (0..batch.events.len()).map(|at| verdict(&catalog, batch, at)).collect();
    Ok(json!({
        "stream": config.preset.stream.name,
        "routes": routes(&catalog, connect),
        "events": events,
    }))
}

fn routes(catalog: &Catalog, bound: bool) -> Vec<Value> {
    let routes = catalog.routes.iter().map(|route| {
        let columns = route.columns.iter().map(|column| {
            let sql_type = if bound { json!(column.sql_type) } else { Value::Null };
            json!({
                "name": column.name,
                "type": sql_type,
                "source": column.source.to_string(),
                "required": column.required,
            })
        });
        json!({
            "event": route.event,
            "table": route.table,
            "columns": columns.collect::<Vec<_>>(),
        })
    });
    routes.collect()
}

fn verdict(catalog: &Catalog, batch: &Batch, at: usize) -> Value {
    let event: &Event = &batch.events[at];
    let rows = catalog.routes.iter().zip(&batch.rows);
    let mut tables: Vec<&str> = rows
        .filter(|(_, rows)| rows.of(at).is_some())
        .map(|(route, _)| route.table.as_str())
        .collect();
    tables.sort_unstable();
    let mut drift: Vec<&str> = Vec::new();
    for (_, kind) in
        batch.rows.iter().flat_map(|rows| rows.drift()).filter(|(of, _)| *of == at as u32)
    {
        if !drift.contains(&kind.as_str()) {
            drift.push(kind.as_str());
        }
    }
    let (outcome, reason) = match &event.fate {
        Fate::Dead(reason) if reason.fatal => ("fails the run", Some(reason)),
        Fate::Dead(reason) => ("dead letter", Some(reason)),
        Fate::Ignored => ("ignored", None),
        _ if tables.is_empty() => ("taken by no route", None),
        _ => ("lands", None),
    };
    json!({
        "id": batch.source_id(event),
        "event": batch.event_type(event),
        "outcome": outcome,
        "tables": tables,
        "drift": drift,
        "reason_code": reason.map(|reason| reason.code),
        "reason": reason.map(|reason| reason.text.as_str()),
    })
}
