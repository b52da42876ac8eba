//! Is the process alive, and is what it shows worth looking at.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::json;

use super::App;
use super::parameters::{Parameters, Rejection};

/// Books older than this are not those of a database that answers.
const OLD: f64 = 5.0;

/// `GET /health`: alive, whatever becomes of the database.
pub(super) async fn health(
    State(app): State<Arc<App>>,
    parameters: Parameters,
) -> Result<Response, Rejection> {
    parameters.finish("none")?;
    let body = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "server_time": Timestamp::now(),
        "uptime_seconds": app.started.elapsed().as_secs(),
    });
    Ok(Json(body).into_response())
}

/// `GET /ready`: 200 while the database answers and the pipeline hears its source.
pub(super) async fn ready(
    State(app): State<Arc<App>>,
    parameters: Parameters,
) -> Result<Response, Rejection> {
    parameters.finish("none")?;
    let (last, error) = app.sampler.last();
    let problem = match last {
        None => {
            Some(("database", error.unwrap_or_else(|| "the database was not asked yet".into())))
        }
        Some((age, _)) if error.is_some() || age.as_secs_f64() > OLD => {
            let age = age.as_secs();
            let error = error.unwrap_or_else(|| "it does not answer".into());
            Some(("database", format!("{error} (last answer {age} s ago)")))
        }
        Some((age, books)) => {
            let freshest =
                books.streams.iter().filter_map(|stream| stream.heard_age).reduce(f64::min);
            match freshest.map(|heard| heard + age.as_secs_f64()) {
                None => {
                    Some(("never", format!("stream {} was never heard; start its DAG", app.stream)))
                }
                Some(heard) if heard > app.stale_after.as_secs_f64() => {
                    let most = app.stale_after.as_secs();
                    Some((
                        "stale",
                        format!(
                            "stream {} was last heard {heard:.0} s ago, more than {most} s; look at its DAG",
                            app.stream
                        ),
                    ))
                }
                Some(_) => None,
            }
        }
    };
    let (status, reason, message) = match problem {
        None => (StatusCode::OK, None, None),
        Some((reason, message)) => (StatusCode::SERVICE_UNAVAILABLE, Some(reason), Some(message)),
    };
    let body = json!({ "ready": reason.is_none(), "reason": reason, "message": message });
    Ok((status, Json(body)).into_response())
}
