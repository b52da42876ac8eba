//! `GET /docs`: a page that explains the API without asking anyone else for a script or a font.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};

/// The page's script stands in it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'";

pub(super) async fn page() -> Response {
    let text = include_str!("../../docs/index.html");
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(text)).into_response()
}

pub(super) async fn openapi() -> Response {
    let text = include_str!("../../docs/openapi.json");
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}
