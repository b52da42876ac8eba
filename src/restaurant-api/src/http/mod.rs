//! The HTTP face: one router, its shared state, and answers to wrong questions.

mod admission;
mod docs;
mod events;
mod filter;
mod health;
mod metrics;
mod parameters;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;
use uuid::Uuid;

pub use metrics::Metrics;

use crate::log::Log;
use crate::token::Token;
use parameters::Rejection;

/// Header that names the life of the log; offsets of two epochs have nothing to do with each other.
const X_EPOCH: HeaderName = HeaderName::from_static("x-epoch");

/// What all requests share.
pub struct App {
    pub log: Arc<Log>,
    pub epoch: Uuid,
    /// Silence on a stream after which a comment is sent.
    pub heartbeat: Duration,
    pub metrics: Arc<Metrics>,
    pub started: Instant,
    /// Becomes true when the server shuts down; streams end then.
    pub stop: watch::Receiver<bool>,
    /// What clients must show, if anything.
    pub token: Option<Token>,
    /// Most clients on `/stream` at once.
    pub max_streams: usize,
}

impl App {
    fn epoch_header(&self) -> (HeaderName, HeaderValue) {
        let text = self.epoch.to_string();
        (X_EPOCH, HeaderValue::try_from(text).expect("a UUID is ASCII"))
    }
}

/// The routes, ready to be served.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/events", get(events::events))
        .route("/stream", get(stream::stream))
        .route("/metrics", get(metrics::metrics))
        .route("/docs", get(docs::page))
        .route("/openapi.json", get(docs::openapi))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), admission::admit))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), count))
        .with_state(app)
}

/// Counts the answer by route and status. Unknown paths share one label, so that no visitor can
/// grow the table.
async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("other", |path| path.as_str());
    app.metrics.request(route, response.status());
    response
}

async fn not_found() -> Response {
    Rejection::new(StatusCode::NOT_FOUND, "not_found", "no such page; see /docs").into_response()
}

async fn method_not_allowed() -> Response {
    let message = "only GET is understood here; see /docs";
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Rejection::new(status, "method_not_allowed", message).into_response()
}
