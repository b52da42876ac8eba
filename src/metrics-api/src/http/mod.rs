//! The HTTP face: one router, its shared state, and answers to wrong questions.

mod admission;
mod docs;
mod figures;
mod health;
mod live;
mod meters;
mod page;
mod parameters;
mod pipeline;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

pub use meters::Meters;

use crate::live::Hub;
use crate::sampler::Sampler;
use crate::store::Store;
use crate::token::Tokens;
use parameters::Rejection;

/// What all requests share.
pub struct App {
    pub store: Store,
    pub sampler: Arc<Sampler>,
    pub hub: Arc<Hub>,
    pub meters: Meters,
    /// What clients must show, if anything.
    pub tokens: Option<Tokens>,
    /// Name of the stream whose dead letters are shown.
    pub stream: String,
    /// Silence of the source after which we are not ready.
    pub stale_after: Duration,
    pub started: Instant,
}

/// Every path with what answers it; `/openapi.json` describes them all.
pub fn routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/kpis", get(figures::kpis)),
        ("/series", get(figures::series)),
        ("/metrics", get(figures::metrics)),
        ("/metrics/latest", get(figures::latest)),
        ("/streams/top", get(figures::streams_top)),
        ("/locations/top", get(figures::locations_top)),
        ("/items/top", get(figures::items_top)),
        ("/payments/mix", get(figures::payments_mix)),
        ("/locations", get(figures::locations)),
        ("/orders/live", get(figures::orders_live)),
        ("/pipeline", get(pipeline::pipeline)),
        ("/dead-letters", get(pipeline::dead_letters)),
        ("/live", get(live::live)),
        ("/health", get(health::health)),
        ("/ready", get(health::ready)),
        ("/prometheus", get(meters::prometheus)),
        ("/docs", get(docs::page)),
        ("/openapi.json", get(docs::openapi)),
        ("/", get(page::index)),
        ("/assets/{*path}", get(page::asset)),
    ]
}

/// The routes, ready to be served.
pub fn router(app: Arc<App>) -> Router {
    let router = routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(admission::in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), admission::admit))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), meters::count))
        .with_state(app)
}

async fn not_found() -> Response {
    Rejection::new(StatusCode::NOT_FOUND, "not_found", "no such page; see /docs").into_response()
}

async fn method_not_allowed() -> Response {
    let message = "only GET is understood here; see /docs";
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Rejection::new(status, "method_not_allowed", message).into_response()
}
