//! Where events come from, seen by the pipeline as one thing: a stream or pages.

use std::time::Duration;

use crate::config::{RunConfig, SourceKind};
use crate::error::Error;

/// What happened at the source.
pub(crate) enum Signal {
    /// A response began; its epoch, where the preset names a header and the source sends it.
    Connected {
        epoch: Option<String>,
    },
    /// Something was heard: events, or only a sign of life.
    Bytes,
    Disconnected {
        reason: String,
        retry_in: Duration,
    },
    /// The source says that there is nothing more.
    End,
}

/// An open source.
pub(crate) struct Source {
    client: sse::Client,
    epoch_header: Option<String>,
}

impl Source {
    /// Prepares to read what follows `position`. No I/O yet.
    pub(crate) fn open(config: &RunConfig, position: i64) -> Result<Self, Error> {
        if config.source_kind == SourceKind::Poll {
            return Err(Error::config("source kind poll is not supported yet"));
        }
        let mut source = config.source.clone();
        source.last_event_id = Some(position.to_string().into_bytes());
        Ok(Self {
            client: sse::Client::new(source)?,
            epoch_header: config.preset.stream.epoch_header.clone(),
        })
    }

    /// Waits for the source. Dropping the future and calling again loses nothing.
    pub(crate) async fn advance(&mut self) -> Result<Signal, Error> {
        Ok(match self.client.advance().await? {
            sse::Signal::Connected(connected) => {
                let header = self.epoch_header.as_deref().and_then(|name| connected.header(name));
                tracing::info!("connected to {}", connected.url);
                Signal::Connected { epoch: header.map(str::to_owned) }
            }
            sse::Signal::Bytes(_) => Signal::Bytes,
            sse::Signal::Disconnected(gone) => {
                Signal::Disconnected { reason: gone.reason, retry_in: gone.retry_in }
            }
            sse::Signal::End => Signal::End,
        })
    }

    /// The next parsed item, `None` when more bytes are needed.
    pub(crate) fn next_item(&mut self) -> Option<sse::Item<'_>> {
        self.client.next_item()
    }

    /// Drops the present response and reads what follows `position`.
    pub(crate) fn restart(&mut self, position: i64) {
        self.client.restart(Some(position.to_string().as_bytes()));
    }
}
