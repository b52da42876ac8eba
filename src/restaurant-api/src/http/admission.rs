//! Who is let in, and with how much: the bearer token, and the size of a request's head.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::parameters::Rejection;

/// Bytes of a query. The longest sensible one names every type and location: about 250.
pub(super) const MAX_QUERY_BYTES: usize = 2048;
/// Bytes of all headers, names and values; what reads them off the socket stops at 400 KiB.
pub(super) const MAX_HEADER_BYTES: usize = 16 << 10;
/// What is said to everyone: a probe has no token, and a browser cannot send one to a page.
const OPEN: [&str; 3] = ["/health", "/docs", "/openapi.json"];

pub(super) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match refusal(&app, &request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(app: &App, request: &Request) -> Option<Rejection> {
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers > MAX_HEADER_BYTES {
        let message = format!("the headers are over {MAX_HEADER_BYTES} bytes; send fewer");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Some(Rejection::new(status, "headers_too_large", &message));
    }
    if request.uri().query().is_some_and(|query| query.len() > MAX_QUERY_BYTES) {
        let message = format!("the query is over {MAX_QUERY_BYTES} bytes; ask for less at once");
        return Some(Rejection::new(StatusCode::URI_TOO_LONG, "query_too_long", &message));
    }
    let token = app.token.as_ref()?;
    if OPEN.contains(&request.uri().path()) || token.is_in(authorization(request.headers())) {
        return None;
    }
    let message = "this server asks for a token; send the header Authorization: Bearer TOKEN";
    let challenge = "Bearer realm=\"restaurant-api\"";
    let rejection = Rejection::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
    Some(rejection.with_header("www-authenticate", challenge))
}

/// The value of the one `Authorization` header; several are none.
fn authorization(headers: &HeaderMap) -> &[u8] {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.as_bytes(),
        _ => b"",
    }
}
