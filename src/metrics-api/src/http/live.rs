//! `GET /live`: figures as they change, as server-sent events or through a WebSocket.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade, close_code};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, UPGRADE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};

use super::App;
use super::parameters::{Parameters, Rejection};
use crate::live::{Full, Listener, Next};
use crate::token::Role;

/// A client whose connection ended comes back after a second.
const RETRY: Bytes = Bytes::from_static(b"retry: 1000\n\n");
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
];
/// What a client may say to us, which nobody reads.
const MAX_HEARD_BYTES: usize = 4096;

pub(super) async fn live(
    State(app): State<Arc<App>>,
    Extension(role): Extension<Role>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    mut parameters: Parameters,
) -> Result<Response, Rejection> {
    let filter = parameters.filter(&app.sampler.sites())?;
    let after = parameters.take("after")?;
    parameters.finish("minutes, location, service_type, after")?;
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let after = header.filter(|id| !id.is_empty()).or(after);
    let wants_socket = headers.contains_key(UPGRADE);
    if wants_socket {
        refuse_strangers(&headers)?;
    }
    let listener = app.hub.join(&filter, role, after.as_deref()).map_err(refusal)?;
    if !wants_socket {
        let opening = stream::iter([Ok::<_, Infallible>(RETRY)]);
        let body = stream::unfold(listener, async |mut listener| {
            let bytes = match listener.next().await? {
                Next::Messages(batch) => batch.sse.clone(),
                Next::Bye(message) => message.sse,
            };
            Some((Ok(bytes), listener))
        });
        return Ok((HEADERS, Body::from_stream(opening.chain(body))).into_response());
    }
    let upgrade = upgrade.map_err(|error| {
        let message = format!("this is no upgrade to a WebSocket: {error}");
        Rejection::new(StatusCode::BAD_REQUEST, "invalid_upgrade", &message)
    })?;
    let upgrade = upgrade.max_message_size(MAX_HEARD_BYTES).max_frame_size(MAX_HEARD_BYTES);
    // The usual buffers are 128 KiB each way, for every client.
    let upgrade = upgrade.read_buffer_size(1024).write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |socket| talk(socket, listener)))
}

/// Sends until one side ends it.
async fn talk(socket: WebSocket, mut listener: Listener) {
    let (mut sink, mut heard) = socket.split();
    loop {
        let next = tokio::select! {
            next = listener.next() => next,
            // Pings are answered in there; nothing else that a client says matters.
            frame = heard.next() => match frame {
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        let ended = match next {
            Some(Next::Messages(batch)) => {
                let mut sent = Ok(());
                for message in &batch.messages {
                    sent = sink.feed(Frame::Text(message.text.clone())).await;
                    if sent.is_err() {
                        break;
                    }
                }
                sent.is_err() || sink.flush().await.is_err()
            }
            Some(Next::Bye(message)) => {
                let _ = sink.send(Frame::Text(message.text)).await;
                let reason = CloseFrame { code: close_code::AGAIN, reason: "see bye".into() };
                let _ = sink.send(Frame::Close(Some(reason))).await;
                true
            }
            None => true,
        };
        if ended {
            return;
        }
    }
}

/// A page of another origin could open a socket with what its visitor's browser may see.
fn refuse_strangers(headers: &HeaderMap) -> Result<(), Rejection> {
    let Some(origin) = headers.get(ORIGIN).map(HeaderValue::as_bytes) else {
        return Ok(());
    };
    let host = headers.get(HOST).map_or(&b""[..], HeaderValue::as_bytes);
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    if schemes.iter().any(|scheme| origin.strip_prefix(*scheme) == Some(host)) {
        return Ok(());
    }
    let message = "the page that asks is of another origin; open /live from our own page";
    Err(Rejection::new(StatusCode::FORBIDDEN, "foreign_origin", message))
}

fn refusal(full: Full) -> Rejection {
    let (code, message) = match full {
        Full::Clients => ("too_many_clients", "as many clients listen as may; try again later"),
        Full::Filters => {
            ("too_many_filters", "as many filters are shown as may; use one that is, or try later")
        }
    };
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Rejection::new(status, code, message).with_header(RETRY_AFTER, "5")
}
