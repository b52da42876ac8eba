//! The page: built files that the program carries, and nothing from anywhere else.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};

use super::parameters::Rejection;

/// Path below `ui/dist` and content; see build.rs.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));
const INDEX: &str = "index.html";
/// The page as it is where `make ui` was not run.
const NOT_BUILT: &str = include_str!("../../docs/not_built.html");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
/// Names of assets hold a hash of their content.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

pub(super) async fn index() -> Response {
    let headers = [(CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-cache")];
    match file(INDEX) {
        Some(bytes) => (headers, [(CONTENT_TYPE, kind(INDEX))], bytes).into_response(),
        None => (headers, Html(NOT_BUILT)).into_response(),
    }
}

pub(super) async fn asset(Path(path): Path<String>) -> Response {
    let name = format!("assets/{path}");
    match file(&name) {
        Some(bytes) => {
            ([(CONTENT_TYPE, kind(&name)), (CACHE_CONTROL, FOR_EVER)], bytes).into_response()
        }
        None => {
            let message = "no such file; reload the page";
            Rejection::new(StatusCode::NOT_FOUND, "not_found", message).into_response()
        }
    }
}

fn file(name: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "map") => "application/json",
        Some("woff2") => "font/woff2",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        _ => "application/octet-stream",
    }
}
