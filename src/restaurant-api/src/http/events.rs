//! `GET /events`: one page of history as JSON.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::App;
use super::parameters::{Parameters, Rejection};
use crate::log::Found;

/// Events looked at for one answer, so that a rare filter cannot keep a request busy for long;
/// `next_since` says how far it came.
const MAX_EXAMINED: u64 = 200_000;

/// Bytes of an event as JSON, with room to spare: the mean is 420.
const USUAL_BYTES: usize = 448;

pub(super) async fn events(
    State(app): State<Arc<App>>,
    mut parameters: Parameters,
) -> Result<Response, Rejection> {
    let since = parameters.offset("since")?.unwrap_or(0);
    let limit = parameters.limit()?;
    let filter = parameters.filter()?;
    parameters.finish("since, limit, types, locations, shard")?;

    // For all of it at once: to grow a body of megabytes is to copy it. What is not written costs
    // no memory.
    let mut body = Vec::with_capacity(256 + limit * USUAL_BYTES);
    body.extend_from_slice(format!("{{\"epoch\":\"{}\",\"events\":[", app.epoch).as_bytes());
    let (mut cursor, mut taken, mut examined) = (since, 0, 0);
    while taken < limit && examined < MAX_EXAMINED {
        let page = match app.log.read(cursor).await {
            Found::Page(page) => page,
            Found::Missed { last, .. } => {
                cursor = last;
                continue;
            }
            Found::End => break,
        };
        let from = (cursor + 1 - page.first()) as usize;
        for event in from..page.len() {
            if taken == limit {
                break;
            }
            cursor += 1;
            examined += 1;
            if filter.takes(&page.entries()[event]) {
                if taken > 0 {
                    body.push(b',');
                }
                body.extend_from_slice(page.json(event));
                taken += 1;
            }
        }
    }
    body.extend_from_slice(format!("],\"next_since\":{cursor}}}").as_bytes());
    let headers = [
        (CONTENT_TYPE, "application/json".try_into().expect("ASCII")),
        (CACHE_CONTROL, "no-store".try_into().expect("ASCII")),
        app.epoch_header(),
    ];
    Ok((headers, body).into_response())
}
