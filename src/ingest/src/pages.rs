//! The feed's REST twin as a source: page after page until one brings nothing new.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::config::RunConfig;
use crate::error::Error;
use crate::preset::PagesSpec;
use crate::selector::{Found, Selector};

/// Most events asked for with a request, and the largest body accepted for them.
pub(crate) const PAGE_EVENTS: i64 = 1000;
const PAGE_MAX_BYTES: usize = 8 << 20;
const RETRY: Duration = Duration::from_secs(2);

type Answer = Pin<Box<dyn Future<Output = Result<sse::Page, sse::Error>> + Send>>;

/// The pages after a position.
pub(crate) struct Pages {
    http: Arc<sse::Pages>,
    spec: PagesSpec,
    position: i64,
    /// Events asked for with each request.
    limit: i64,
    state: State,
    /// The text of the present page, its events, and the next one to hand out.
    body: String,
    events: Vec<PageEvent>,
    next: usize,
}

enum State {
    Idle,
    Waiting(Instant),
    Asking(Answer),
    /// The head was reported; the body is still to be read.
    Answered(bytes::Bytes),
}

struct PageEvent {
    id: String,
    event_type: String,
    data: Range<usize>,
}

impl Pages {
    pub(crate) fn open(config: &RunConfig, position: i64) -> Result<Self, Error> {
        Self::at(config, config.source.clone(), position)
    }

    /// The pages of the feed at another address.
    pub(crate) fn at(
        config: &RunConfig,
        source: sse::ClientConfig,
        position: i64,
    ) -> Result<Self, Error> {
        let spec = config.preset.stream.pages.clone().ok_or_else(|| {
            Error::config(format!(
                "preset {:?} cannot be polled: it has no [stream.pages]; use the stream or add that section",
                config.preset.stream.name
            ))
        })?;
        Ok(Self {
            http: Arc::new(sse::Pages::new(source, PAGE_MAX_BYTES)?),
            spec,
            position,
            limit: PAGE_EVENTS,
            state: State::Idle,
            body: String::new(),
            events: Vec::new(),
            next: 0,
        })
    }

    /// One step, with the signals of a stream: a page's head is `Connected`, its events `Bytes`,
    /// a page without events the `End`.
    pub(crate) async fn advance(&mut self) -> Result<sse::Signal, Error> {
        loop {
            match &mut self.state {
                State::Idle => {
                    let (http, since) = (self.http.clone(), self.position.to_string());
                    let limit = self.limit.to_string();
                    self.state = State::Asking(Box::pin(async move {
                        http.fetch(&[("since", &since), ("limit", &limit)]).await
                    }));
                }
                State::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.state = State::Idle;
                }
                State::Asking(answer) => match answer.await {
                    Ok(page) => {
                        self.state = State::Answered(page.body);
                        return Ok(sse::Signal::Connected(page.head));
                    }
                    Err(error) if error.is_transient() => {
                        self.state = State::Waiting(Instant::now() + RETRY);
                        return Ok(sse::Signal::Disconnected(sse::Disconnected {
                            reason: error.to_string(),
                            retry_in: RETRY,
                            kind: error.kind(),
                            failed: true,
                        }));
                    }
                    Err(error) => {
                        self.state = State::Idle;
                        return Err(error.into());
                    }
                },
                State::Answered(body) => {
                    let body = std::mem::take(body);
                    self.state = State::Idle;
                    let count = self.read(&body)?;
                    return Ok(match count {
                        0 => sse::Signal::End,
                        _ => sse::Signal::Bytes(body.len()),
                    });
                }
            }
        }
    }

    fn read(&mut self, body: &[u8]) -> Result<usize, Error> {
        let wrong = |what: &str| {
            Error::new(
                crate::error::ErrorKind::SourceRejected,
                format!(
                    "the page is not laid out as [stream.pages] says: {what}; check the url and the preset"
                ),
            )
        };
        self.body = String::from_utf8(body.to_vec()).map_err(|_| wrong("it is not UTF-8"))?;
        self.events.clear();
        self.next = 0;

        let mut page = Selector::default();
        let list = page.add(&self.spec.events);
        let mut found = Found::default();
        page.pick(&self.body, &mut found).map_err(|_| wrong("it is not JSON"))?;
        let list = found.get(&self.body, list).ok_or_else(|| wrong("it has no list of events"))?;
        let events: Vec<&RawValue> =
            serde_json::from_str(list).map_err(|_| wrong("its events are no list"))?;

        let mut envelope = Selector::default();
        let id = envelope.add(&self.spec.id);
        let event_type = envelope.add(&self.spec.event_type);
        for raw in events {
            let raw = raw.get();
            envelope.pick(raw, &mut found).map_err(|_| wrong("an event is not JSON"))?;
            let text = |slot| found.get(raw, slot).unwrap_or_default().trim_matches('"').to_owned();
            let start = raw.as_ptr() as usize - self.body.as_ptr() as usize;
            let event = PageEvent {
                id: text(id),
                event_type: text(event_type),
                data: start..start + raw.len(),
            };
            self.position = self.position.max(event.id.parse().unwrap_or(self.position));
            self.events.push(event);
        }
        Ok(self.events.len())
    }

    pub(crate) fn next_item(&mut self) -> Option<sse::Item<'_>> {
        let event = self.events.get(self.next)?;
        self.next += 1;
        Some(sse::Item::Event(sse::Event {
            id: event.id.as_bytes(),
            own_id: true,
            event: &event.event_type,
            data: &self.body[event.data.clone()],
            raw_data: None,
        }))
    }

    /// Events of the present page.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Asks for at most so many events behind `position`.
    pub(crate) fn ask(&mut self, position: i64, limit: i64) {
        self.restart(position);
        self.limit = limit.min(PAGE_EVENTS);
    }

    pub(crate) fn restart(&mut self, position: i64) {
        self.position = position;
        self.state = State::Idle;
        self.events.clear();
        self.next = 0;
    }
}
