//! `GET /stream`: server-sent events from a position on, for as long as the client listens.
//!
//! A subscriber is a position in the log and nothing else. A slow client fills its socket, is not
//! polled, falls behind, and is told of a gap if the log has moved on without it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::App;
use super::filter::Filter;
use super::metrics::Listening;
use super::parameters::{Parameters, Rejection, Until, offset};
use crate::log::{Found, Page};
use crate::wire::timestamp;

const OPENING: Bytes = Bytes::from_static(b"retry: 1000\n: connected\n\n");
const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n\n");
/// When a client that found no room may ask again.
const RETRY_SECONDS: &str = "5";
/// Events are stamped before they are appended; a stream that ends at a time waits this long
/// after it for an event on its way.
const GRACE: Duration = Duration::from_secs(1);

pub(super) async fn stream(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Rejection> {
    let since = parameters.offset("since")?;
    let until = parameters.until()?;
    let filter = parameters.filter()?;
    parameters.finish("since, types, locations, shard, until")?;
    let start = match headers.get("last-event-id").map(HeaderValue::as_bytes) {
        None | Some(b"") => since,
        Some(id) => Some(offset("Last-Event-ID", &String::from_utf8_lossy(id))?),
    };
    let mut head = app.log.head();
    let last = *head.borrow_and_update();
    if let Some(until) = &until
        && already_past(&app, start.unwrap_or(last), until).await
    {
        return Ok((StatusCode::NO_CONTENT, [app.epoch_header()]).into_response());
    }
    let position = match start {
        None => last,
        Some(start) if start <= last => start,
        // Not of this epoch: whoever sends it has seen nothing of this one yet.
        Some(_) => 0,
    };
    let listening = app.metrics.listen(app.max_streams).ok_or_else(|| {
        let most = app.max_streams;
        let message = format!("{most} clients are listening, which is the limit; try again later");
        let rejection =
            Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", &message);
        rejection.with_header("retry-after", RETRY_SECONDS)
    })?;
    let subscriber = Subscriber {
        filter,
        until,
        head,
        stop: app.stop.clone(),
        position,
        next_heartbeat: Instant::now() + app.heartbeat,
        opened: false,
        finished: false,
        _listening: listening,
        app: Arc::clone(&app),
    };
    let body = stream::unfold(subscriber, async |mut subscriber| {
        let chunk = subscriber.next().await?;
        subscriber.app.metrics.sent(chunk.len());
        Some((Ok::<_, Infallible>(chunk), subscriber))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        app.epoch_header(),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// Whether a stream from `position` could never again send an event before its end.
async fn already_past(app: &App, position: u64, until: &Until) -> bool {
    match until {
        Until::Offset(last) => position >= *last,
        Until::Time(time) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = timestamp(now.map_or(0, |since| since.as_micros() as i64));
            now > *time
                && match app.log.read(position).await {
                    Found::End => true,
                    Found::Missed { .. } => false,
                    Found::Page(page) => until.within(&page) <= index_behind(&page, position),
                }
        }
    }
}

fn index_behind(page: &Page, position: u64) -> usize {
    (position + 1 - page.first()) as usize
}

struct Subscriber {
    app: Arc<App>,
    filter: Filter,
    until: Option<Until>,
    head: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    /// Everything up to here was sent, filtered out or reported missing.
    position: u64,
    next_heartbeat: Instant,
    opened: bool,
    finished: bool,
    _listening: Listening,
}

impl Subscriber {
    /// The next bytes for this client, or `None` when the stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.opened {
            self.opened = true;
            return Some(self.say(OPENING));
        }
        loop {
            if self.finished || *self.stop.borrow() {
                return None;
            }
            // Before reading, so that an append between the two is not slept through.
            self.head.mark_unchanged();
            match self.app.log.read(self.position).await {
                Found::Page(page) => {
                    let blocks = self.take(&page);
                    if !blocks.is_empty() {
                        return Some(self.say(blocks));
                    }
                    if !self.finished && Instant::now() >= self.next_heartbeat {
                        return Some(self.say(HEARTBEAT));
                    }
                    tokio::task::yield_now().await;
                }
                Found::Missed { first, last } => {
                    let gap = self.gap(first, last);
                    return Some(self.say(gap));
                }
                Found::End => {
                    if self.wait().await {
                        return Some(self.say(HEARTBEAT));
                    }
                }
            }
        }
    }

    fn say(&mut self, bytes: Bytes) -> Bytes {
        self.next_heartbeat = Instant::now() + self.app.heartbeat;
        bytes
    }

    /// Moves the position over the rest of the page and returns the wanted blocks.
    fn take(&mut self, page: &Page) -> Bytes {
        let from = index_behind(page, self.position);
        let to = self.until.map_or(page.len(), |until| until.within(page));
        self.finished = to < page.len();
        if to <= from {
            return Bytes::new();
        }
        self.position = page.first() + to as u64 - 1;
        self.finish_at_offset();
        self.filter.cut(page, from, to)
    }

    fn gap(&mut self, first: u64, last: u64) -> Bytes {
        let last = match self.until {
            Some(Until::Offset(until)) => last.min(until),
            _ => last,
        };
        self.position = last;
        self.finish_at_offset();
        self.app.metrics.gap();
        let epoch = self.app.epoch;
        tracing::debug!(first, last, "a client missed events; it was told");
        format!(
            "id: {last}\nevent: gap\ndata: \
             {{\"epoch\":\"{epoch}\",\"first_missed\":{first},\"last_missed\":{last}}}\n\n"
        )
        .into()
    }

    fn finish_at_offset(&mut self) {
        if let Some(Until::Offset(until)) = self.until {
            self.finished |= self.position >= until;
        }
    }

    /// Waits for something to do; true if that is a heartbeat.
    async fn wait(&mut self) -> bool {
        let end = match &self.until {
            Some(Until::Time(time)) => Some(time),
            _ => None,
        };
        let end = end.map(|time| Instant::now() + until_wall_clock(time) + GRACE);
        tokio::select! {
            changed = self.head.changed() => {
                self.finished |= changed.is_err();
                false
            }
            _ = self.stop.changed() => false,
            () = sleep_until(self.next_heartbeat) => true,
            () = sleep_until(end.unwrap_or(self.next_heartbeat)), if end.is_some() => {
                self.finished = true;
                false
            }
        }
    }
}

/// How long until the wall clock shows this time.
fn until_wall_clock(time: &[u8]) -> Duration {
    let text = std::str::from_utf8(time).unwrap_or_default();
    let at = chrono::DateTime::parse_from_rfc3339(text).map_or(0, |at| at.timestamp_micros());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_micros(at.max(0) as u64).saturating_sub(now)
}
