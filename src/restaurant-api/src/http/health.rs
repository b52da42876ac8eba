//! `GET /health`: is it alive, what does it hold, how fast is it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;
use super::parameters::{Parameters, Rejection};

pub(super) async fn health(
    State(app): State<Arc<App>>,
    parameters: Parameters,
) -> Result<Response, Rejection> {
    parameters.finish("none")?;
    let bounds = app.log.bounds();
    let (status, word) = if app.metrics.stalled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stalled")
    } else {
        (StatusCode::OK, "ok")
    };
    let body = json!({
        "status": word,
        "stored": bounds.last + 1 - bounds.first,
        "epoch": app.epoch,
        "first_offset": bounds.first,
        "last_offset": bounds.last,
        "rate": (app.metrics.rate() * 10.0).round() / 10.0,
        "clients": app.metrics.clients(),
        "uptime_seconds": app.started.elapsed().as_secs(),
    });
    Ok((status, [app.epoch_header()], Json(body)).into_response())
}
