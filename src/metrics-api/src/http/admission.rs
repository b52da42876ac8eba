//! Who is let in, and with how much: bearer tokens with a role, and the size of a request's head.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HeaderName, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::parameters::Rejection;
use crate::store;
use crate::token::Role;

/// Bytes of a query. The longest sensible one names every location: about 600.
const MAX_QUERY_BYTES: usize = 4096;
/// Bytes of all headers, names and values; what reads them off the socket stops at 400 KiB.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// What is said to everyone: a probe has no token, and the page is the same for all.
const OPEN: [&str; 5] = ["/", "/health", "/ready", "/docs", "/openapi.json"];
const OPEN_BELOW: &str = "/assets/";
/// An answer stands for the moment it was asked for, and is what it says it is.
const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer")),
];

pub(super) async fn admit(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut response = match role(&app, &request) {
        Ok(role) => {
            request.extensions_mut().insert(role);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().extend(HEADERS);
    response
}

fn role(app: &App, request: &Request) -> Result<Role, Rejection> {
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers > MAX_HEADER_BYTES {
        let message = format!("the headers are over {MAX_HEADER_BYTES} bytes; send fewer");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Rejection::new(status, "headers_too_large", &message));
    }
    if request.uri().query().is_some_and(|query| query.len() > MAX_QUERY_BYTES) {
        let message = format!("the query is over {MAX_QUERY_BYTES} bytes; ask for less at once");
        return Err(Rejection::new(StatusCode::URI_TOO_LONG, "query_too_long", &message));
    }
    let Some(tokens) = &app.tokens else {
        return Ok(Role::Operator);
    };
    if let Some(role) = tokens.role(authorization(request.headers())) {
        return Ok(role);
    }
    let path = request.uri().path();
    if OPEN.contains(&path) || path.starts_with(OPEN_BELOW) {
        return Ok(Role::Viewer);
    }
    let message = "this server asks for a token; send the header Authorization: Bearer TOKEN";
    let rejection = Rejection::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
    Err(rejection.with_header(WWW_AUTHENTICATE, "Bearer realm=\"metrics-api\""))
}

/// Ends a request whose answer does not come; that of /live comes at once and goes on.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    match store::in_time(async { Ok(next.run(request).await) }).await {
        Ok(response) => response,
        Err(error) => Rejection::from(error).into_response(),
    }
}

/// What a viewer is told who asks for an operator's page.
pub(super) fn operators_only() -> Rejection {
    let message = "this page is for operators; ask for a token with that role";
    Rejection::new(StatusCode::FORBIDDEN, "forbidden", message)
}

/// The value of the one `Authorization` header; several are none.
fn authorization(headers: &HeaderMap) -> &[u8] {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.as_bytes(),
        _ => b"",
    }
}
