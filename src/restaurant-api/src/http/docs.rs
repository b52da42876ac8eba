//! `GET /docs`: a page that explains the API without asking anyone else for a script or a font.

use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};

pub(super) async fn page() -> Html<&'static str> {
    Html(include_str!("../../docs/index.html"))
}

pub(super) async fn openapi() -> Response {
    let text = include_str!("../../docs/openapi.json");
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}
