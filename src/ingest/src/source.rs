//! Where events come from, seen by the pipeline as one thing: a stream, or pages of its REST twin.

use std::time::Duration;

use crate::config::{RunConfig, SourceKind};
use crate::error::{Error, ErrorKind};
use crate::offsets::Offset;
use crate::pages::Pages;
use crate::preset::{Ids, Reconnect, StreamSpec, TimeFormat};

const MAX_EPOCH_BYTES: usize = 256;

/// What happened at the source.
pub(crate) enum Signal {
    /// A response began; its epoch, where the preset names a header and the source sends it.
    Connected {
        epoch: Option<String>,
        /// The id behind which it begins, as the source writes it.
        anchor: Option<String>,
        /// The newest offset of the source.
        head: Option<i64>,
    },
    /// Something was heard: events, or only a sign of life.
    Bytes,
    Disconnected {
        reason: String,
        retry_in: Duration,
        /// False where a response simply ended.
        failed: bool,
    },
    /// The source no longer has what follows our position; reading goes on with what it has.
    Gone,
    /// The source says that there is nothing more.
    End,
    /// The one response that there is has ended, or broke off.
    Over { reason: String },
}

/// An open source.
pub(crate) struct Source {
    kind: Kind,
    ids: Ids,
    /// Ids stand in the data, where the client does not see them.
    hidden_ids: bool,
    ends_with_response: bool,
    head_header: Option<String>,
    epoch_header: Option<String>,
    anchor_header: Option<String>,
    /// A response has begun in this run.
    answered: bool,
    /// We were told that our position is gone, and have read nothing since.
    gone: bool,
}

enum Kind {
    Stream(Box<sse::Client>),
    Pages(Box<Pages>),
}

impl Source {
    /// Prepares to read what follows this offset. No I/O yet.
    pub(crate) fn open(config: &RunConfig, offset: &Offset) -> Result<Self, Error> {
        let stream = &config.preset.stream;
        let kind = match config.source_kind {
            SourceKind::Stream => {
                let mut source = config.source.clone();
                source.resume = stream.resume();
                source.start = start(stream, config.limits.from);
                source.last_event_id = resume_id(
                    stream,
                    offset.position,
                    offset.resume_token.as_deref(),
                    source.start.is_some(),
                );
                Kind::Stream(Box::new(sse::Client::new(source)?))
            }
            SourceKind::Poll if stream.ids.are_counted() => {
                return Err(Error::config(format!(
                    "preset {:?} cannot be polled: its ids are no numbers; use the stream",
                    stream.name
                )));
            }
            SourceKind::Poll => Kind::Pages(Box::new(Pages::open(config, offset.position)?)),
        };
        Ok(Self {
            kind,
            ids: stream.ids,
            hidden_ids: stream.hides_ids(),
            ends_with_response: stream.reconnect == Reconnect::Never,
            head_header: stream.head_header.clone(),
            epoch_header: stream.epoch_header.clone(),
            anchor_header: stream.anchor_header.clone(),
            answered: false,
            gone: false,
        })
    }

    /// Waits for the source. Dropping the future and calling again loses nothing.
    pub(crate) async fn advance(&mut self) -> Result<Signal, Error> {
        let signal = match &mut self.kind {
            Kind::Stream(client) => client.advance().await.map_err(Error::from),
            Kind::Pages(pages) => pages.advance().await,
        };
        let signal = match signal {
            Err(error) if is_gone(&error) && !self.gone => {
                self.gone = true;
                match &mut self.kind {
                    Kind::Stream(client) => client.restart(None),
                    Kind::Pages(pages) => pages.restart(0),
                }
                return Ok(Signal::Gone);
            }
            signal => signal?,
        };
        Ok(match signal {
            sse::Signal::Connected(connected) => {
                let header = self.epoch_header.as_deref().and_then(|name| connected.header(name));
                if matches!(self.kind, Kind::Stream(_)) {
                    tracing::info!("connected to {}", connected.url);
                }
                if header.is_some_and(|epoch| epoch.len() > MAX_EPOCH_BYTES) {
                    return Err(Error::new(
                        ErrorKind::Protocol,
                        format!(
                            "the epoch in the response header is over {MAX_EPOCH_BYTES} bytes; check epoch_header of the preset"
                        ),
                    ));
                }
                let head = self.head_header.as_deref().and_then(|name| connected.header(name));
                self.answered = true;
                let anchor = self.anchor_header.as_deref().and_then(|name| connected.header(name));
                Signal::Connected {
                    epoch: header.map(str::to_owned),
                    anchor: anchor.map(str::to_owned),
                    head: head.and_then(|text| text.trim().parse().ok()),
                }
            }
            sse::Signal::Bytes(_) => Signal::Bytes,
            sse::Signal::Disconnected(gone) if self.answered && self.ends_with_response => {
                Signal::Over { reason: gone.reason }
            }
            sse::Signal::Disconnected(gone) => {
                let sse::Disconnected { reason, retry_in, failed, .. } = gone;
                Signal::Disconnected { reason, retry_in, failed }
            }
            sse::Signal::End => Signal::End,
        })
    }

    /// The next parsed item, `None` when more must be awaited.
    pub(crate) fn next_item(&mut self) -> Option<sse::Item<'_>> {
        match &mut self.kind {
            Kind::Stream(client) => client.next_item(),
            Kind::Pages(pages) => pages.next_item(),
        }
    }

    /// Events have come: should the position be gone once more, that is news.
    pub(crate) fn has_given(&mut self) {
        self.gone = false;
    }

    /// A new connection is to go on behind what was taken: behind this position, or this token where
    /// there is one.
    pub(crate) fn goes_on_after(&mut self, position: i64, token: Option<&str>) {
        let Kind::Stream(client) = &mut self.kind else { return };
        if self.hidden_ids {
            match token {
                Some(token) => client.resume_after(token.as_bytes()),
                None => client.resume_after(position.to_string().as_bytes()),
            }
        }
    }

    /// Drops the present response unread and reads what follows `position`: all there is, where
    /// offsets are our own count.
    pub(crate) fn restart(&mut self, position: i64) {
        match &mut self.kind {
            Kind::Stream(client) if self.ids.are_counted() => client.restart(None),
            Kind::Stream(client) => client.restart(Some(position.to_string().as_bytes())),
            Kind::Pages(pages) => pages.restart(position),
        }
    }
}

/// What the first request resumes from. Before the first event it is the beginning, unless the URL
/// says something else or `starts` does.
pub(crate) fn resume_id(
    stream: &StreamSpec,
    position: i64,
    token: Option<&str>,
    starts: bool,
) -> Option<Vec<u8>> {
    let elsewhere = starts || stream.resume() != sse::Resume::Header;
    match stream.ids {
        Ids::Integer if position == 0 && elsewhere => None,
        Ids::Integer => Some(position.to_string().into_bytes()),
        Ids::Text | Ids::Any => token.map(|token| token.as_bytes().to_vec()),
        Ids::None => None,
    }
}

/// The query parameter that asks for what follows a time, where the feed has one.
fn start(stream: &StreamSpec, from: Option<jiff::Timestamp>) -> Option<(String, String)> {
    let (since, from) = (stream.since.as_ref()?, from?);
    let lateness = jiff::SignedDuration::try_from_secs_f64(stream.lateness_seconds).ok()?;
    let from = from.checked_sub(lateness).unwrap_or(from);
    let text = match since.format {
        TimeFormat::Iso => from.to_string(),
        TimeFormat::Seconds => from.as_second().to_string(),
        TimeFormat::Milliseconds => from.as_millisecond().to_string(),
    };
    Some((since.query.clone(), text))
}

/// 410: the source once had what was asked for.
pub(crate) fn is_gone(error: &Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sse::Error>());
    cause.is_some_and(|cause| cause.kind() == sse::ErrorKind::Status(410))
}
