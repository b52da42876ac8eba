//! Where events come from, seen by the pipeline as one thing: a stream, or pages of its REST twin.

use std::time::Duration;

use crate::config::{RunConfig, SourceKind};
use crate::error::{Error, ErrorKind};
use crate::pages::Pages;

const MAX_EPOCH_BYTES: usize = 256;

/// What happened at the source.
pub(crate) enum Signal {
    /// A response began; its epoch, where the preset names a header and the source sends it.
    Connected {
        epoch: Option<String>,
        /// The id behind which it begins, as the source writes it.
        anchor: Option<String>,
    },
    /// Something was heard: events, or only a sign of life.
    Bytes,
    Disconnected {
        reason: String,
        retry_in: Duration,
    },
    /// The source no longer has what follows our position; reading goes on with what it has.
    Gone,
    /// The source says that there is nothing more.
    End,
}

/// An open source.
pub(crate) struct Source {
    kind: Kind,
    epoch_header: Option<String>,
    anchor_header: Option<String>,
    /// We were told that our position is gone, and have read nothing since.
    gone: bool,
}

enum Kind {
    Stream(Box<sse::Client>),
    Pages(Box<Pages>),
}

impl Source {
    /// Prepares to read what follows `position`. No I/O yet.
    pub(crate) fn open(config: &RunConfig, position: i64) -> Result<Self, Error> {
        let kind = match config.source_kind {
            SourceKind::Stream => {
                let mut source = config.source.clone();
                source.last_event_id = Some(position.to_string().into_bytes());
                Kind::Stream(Box::new(sse::Client::new(source)?))
            }
            SourceKind::Poll => Kind::Pages(Box::new(Pages::open(config, position)?)),
        };
        let stream = &config.preset.stream;
        Ok(Self {
            kind,
            epoch_header: stream.epoch_header.clone(),
            anchor_header: stream.anchor_header.clone(),
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
                let anchor = self.anchor_header.as_deref().and_then(|name| connected.header(name));
                Signal::Connected {
                    epoch: header.map(str::to_owned),
                    anchor: anchor.map(str::to_owned),
                }
            }
            sse::Signal::Bytes(_) => Signal::Bytes,
            sse::Signal::Disconnected(gone) => {
                Signal::Disconnected { reason: gone.reason, retry_in: gone.retry_in }
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

    /// Drops the present response unread and reads what follows `position`.
    pub(crate) fn restart(&mut self, position: i64) {
        match &mut self.kind {
            Kind::Stream(client) => client.restart(Some(position.to_string().as_bytes())),
            Kind::Pages(pages) => pages.restart(position),
        }
    }
}

/// 410: the source once had what was asked for.
pub(crate) fn is_gone(error: &Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sse::Error>());
    cause.is_some_and(|cause| cause.kind() == sse::ErrorKind::Status(410))
}
