//! Waiting until a stream has something for us. A look only: nothing lands, no offset moves.

use sse::{Client, ClientConfig, Item, Signal};

use crate::connect::DatabaseConfig;
use crate::error::Error;
use crate::intake::{Envelope, Kind};
use crate::preset::{Preset, StreamSpec};
use crate::source::{is_gone, resume_id};

const POSITION: &str = "
    select position, resume_token, epoch from sse_stream.streams where stream = $1 and shard = $2";

/// What is waited for, and where.
pub struct Watch {
    /// The stream; it should never give up by itself. Its `last_event_id` is what we have already,
    /// where there is no `position`.
    pub source: ClientConfig,
    /// The feed's conventions: how to resume, which events are data, what names its history.
    pub preset: Option<Preset>,
    /// What the books say that we have already.
    pub position: Option<Position>,
    /// So many events are enough; for 0 any sign of life is.
    pub events: u64,
    /// Only events of these types count; all do where there are none.
    pub types: Vec<String>,
}

/// What the wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The source speaks; asked for where no events are waited for.
    Life,
    /// As many events as were waited for.
    Events,
    /// Another history than the one we know.
    Epoch,
    /// The source no longer has what follows our position (410).
    Gone,
    /// The source says that there is nothing more (204).
    End,
}

impl Seen {
    /// The word for it, in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Life => "life",
            Self::Events => "events",
            Self::Epoch => "epoch",
            Self::Gone => "gone",
            Self::End => "end",
        }
    }
}

/// The end of a wait.
#[derive(Clone, Debug)]
pub struct Sight {
    pub seen: Seen,
    /// Events that counted.
    pub events: u64,
    /// The id of the last finished block; empty where there was none.
    pub last_event_id: Vec<u8>,
    /// The history that the source named last.
    pub epoch: Option<String>,
}

/// Where a stream stands in the books. The default is where one stands that never ran.
#[derive(Clone, Debug, Default)]
pub struct Position {
    pub position: i64,
    /// From where to resume, if ids are not our offsets.
    pub resume_token: Option<String>,
    /// Another history than this one is news, whatever its events.
    pub epoch: Option<String>,
}

/// The committed position of a stream.
pub async fn position(
    database: &DatabaseConfig,
    stream: &str,
    shard: i32,
) -> Result<Position, Error> {
    let session = database.connect().await?;
    let row = session
        .client
        .query_opt(POSITION, &[&stream, &shard])
        .await
        .map_err(|error| Error::database("cannot read where the stream stands", error))?;
    Ok(row.map_or_else(Position::default, |row| Position {
        position: row.get(0),
        resume_token: row.get(1),
        epoch: row.get(2),
    }))
}

/// Waits until the source has what is waited for, through disconnects and however long it takes.
///
/// # Errors
/// Only what waiting does not mend: the source refuses us, a setting is wrong.
pub async fn watch(watch: Watch) -> Result<Sight, Error> {
    let Watch { mut source, preset, position, events, types } = watch;
    let stream = preset.as_ref().map(|preset| &preset.stream);
    if let Some(stream) = stream {
        source.resume = stream.resume();
    }
    if let Some(Position { position, resume_token, .. }) = &position {
        source.last_event_id = match stream {
            Some(stream) => resume_id(stream, *position, resume_token.as_deref(), false),
            None => Some(position.to_string().into_bytes()),
        };
    }
    let asked_for_more = source.last_event_id.is_some();
    let mut counts =
        Counting { envelope: stream.map(|stream| Envelope::new(stream, false)), types };
    let mut client = Client::new(source)?;
    let mut sight = Sight { seen: Seen::Life, events: 0, last_event_id: Vec::new(), epoch: None };
    loop {
        let seen = match client.advance().await {
            Ok(Signal::Connected(connected)) => {
                if stream.is_some_and(StreamSpec::hides_ids) {
                    // What came before is sent again: the client cannot see how far it was.
                    sight.events = 0;
                }
                let header = stream.and_then(|stream| stream.epoch_header.as_deref());
                sight.epoch = header.and_then(|name| connected.header(name)).map(str::to_owned);
                let known = position.as_ref().and_then(|position| position.epoch.as_deref());
                let changed =
                    known.is_some() && sight.epoch.is_some() && sight.epoch.as_deref() != known;
                changed.then_some(Seen::Epoch)
            }
            Ok(Signal::Bytes(_)) => {
                let mut seen = (events == 0).then_some(Seen::Life);
                while let Some(item) = client.next_item() {
                    sight.events += u64::from(counts.takes(&item, stream));
                    if events > 0 && sight.events >= events {
                        seen = Some(Seen::Events);
                        break;
                    }
                }
                seen
            }
            Ok(Signal::Disconnected(_)) => None,
            Ok(Signal::End) => Some(Seen::End),
            Err(error) => {
                let error = Error::from(error);
                if !is_gone(&error) || !asked_for_more {
                    return Err(error);
                }
                Some(Seen::Gone)
            }
        };
        if let Some(seen) = seen {
            sight.seen = seen;
            sight.last_event_id = client.last_event_id().to_vec();
            return Ok(sight);
        }
    }
}

/// Which events are waited for.
struct Counting {
    envelope: Option<Envelope>,
    types: Vec<String>,
}

impl Counting {
    fn takes(&mut self, item: &Item<'_>, stream: Option<&StreamSpec>) -> bool {
        let (event_type, is_data) = match item {
            Item::Event(event) => match &mut self.envelope {
                Some(envelope) => {
                    let says = envelope.read(event.id, event.event, event.data);
                    (says.event_type.unwrap_or(event.event), says.kind == Kind::Data)
                }
                None => (event.event, true),
            },
            Item::Oversize(oversize) => (oversize.event, true),
            _ => return false,
        };
        let is_gap = stream.and_then(|stream| stream.gap_event.as_deref()) == Some(event_type);
        let is_wanted = self.types.is_empty() || self.types.iter().any(|each| each == event_type);
        is_data && is_wanted && !is_gap
    }
}
