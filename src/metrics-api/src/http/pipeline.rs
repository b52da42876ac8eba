//! Where the pipeline stands, and what did not land.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::App;
use super::admission;
use super::parameters::{Parameters, Rejection};
use crate::store;
use crate::token::Role;

/// `GET /pipeline`: looked at now. A database that does not answer is part of the answer.
pub(super) async fn pipeline(
    State(app): State<Arc<App>>,
    Extension(role): Extension<Role>,
    parameters: Parameters,
) -> Result<Json<crate::sampler::Pipeline>, Rejection> {
    parameters.finish("none")?;
    app.sampler.look().await;
    Ok(Json(app.sampler.pipeline(role)))
}

/// `GET /dead-letters`: how many are open and why, and the newest of them.
pub(super) async fn dead_letters(
    State(app): State<Arc<App>>,
    Extension(role): Extension<Role>,
    mut parameters: Parameters,
) -> Result<Json<Value>, Rejection> {
    if role < Role::Operator {
        return Err(admission::operators_only());
    }
    let reason = parameters.code("reason")?;
    let limit = parameters.number("limit", 50, 500)?;
    parameters.finish("reason, limit")?;
    let mut session = app.store.session().await?;
    let snapshot = store::snapshot(&mut session).await?;
    let by_reason = store::reasons(&snapshot, &app.stream).await?;
    let rows = store::letters(&snapshot, &app.stream, reason.as_deref(), i64::from(limit)).await?;
    Ok(Json(json!({ "by_reason": by_reason, "rows": rows })))
}
