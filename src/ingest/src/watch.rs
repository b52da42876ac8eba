//! Waiting until a stream has something for us. A look only: nothing lands, no offset moves.

use crate::connect::DatabaseConfig;
use crate::error::Error;
use crate::source::is_gone;
use sse::{Client, ClientConfig, Item, Signal};

const POSITION: &str = "
    select position, epoch, resume_token from sse_stream.streams where stream = $1 and shard = $2";

/// What is waited for, and where.
pub struct Watch {
    /// The stream. Its `last_event_id` is what we have already; it should never give up by itself.
    pub source: ClientConfig,
    /// So many events are enough; for 0 any sign of life is.
    pub events: u64,
    /// Only events of these types count; all do where there are none.
    pub types: Vec<String>,
    /// The response header that names the source's history.
    pub epoch_header: Option<String>,
    /// The history that we know; another one is news, whatever its events.
    pub epoch: Option<String>,
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

/// Where a stream stands in the books.
#[derive(Clone, Debug)]
pub struct Position {
    /// The id behind which to resume.
    pub last_event_id: Vec<u8>,
    pub epoch: Option<String>,
}

/// The committed position of a stream; one that never ran stands at the beginning.
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
    let (position, epoch, token): (i64, Option<String>, Option<String>) =
        row.map_or((0, None, None), |row| (row.get(0), row.get(1), row.get(2)));
    // Where offsets are our own count, the source knows the token alone.
    let last_event_id = token.unwrap_or_else(|| position.to_string()).into_bytes();
    Ok(Position { last_event_id, epoch })
}

/// Waits until the source has what is waited for, through disconnects and however long it takes.
///
/// # Errors
/// Only what waiting does not mend: the source refuses us, a setting is wrong.
pub async fn watch(watch: Watch) -> Result<Sight, Error> {
    let asked_for = watch.source.last_event_id.clone();
    let mut client = Client::new(watch.source)?;
    let mut sight = Sight { seen: Seen::Life, events: 0, last_event_id: Vec::new(), epoch: None };
    loop {
        let seen = match client.advance().await {
            Ok(Signal::Connected(connected)) => {
                let named = watch.epoch_header.as_deref().and_then(|name| connected.header(name));
                sight.epoch = named.map(str::to_owned);
                let changed = sight.epoch.is_some() && watch.epoch.is_some();
                (changed && sight.epoch != watch.epoch).then_some(Seen::Epoch)
            }
            Ok(Signal::Bytes(_)) => {
                let mut seen = (watch.events == 0).then_some(Seen::Life);
                while let Some(item) = client.next_item() {
                    sight.events += u64::from(counts(&item, &watch.types));
                    if watch.events > 0 && sight.events >= watch.events {
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
                if !is_gone(&error) || asked_for.is_none() {
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

fn counts(item: &Item<'_>, types: &[String]) -> bool {
    let event = match item {
        Item::Event(event) => event.event,
        Item::Oversize(oversize) => oversize.event,
        _ => return false,
    };
    types.is_empty() || types.iter().any(|wanted| wanted == event)
}

impl Watch {
    /// Looks behind a position of the books.
    pub fn behind(&mut self, position: Position) {
        self.source.last_event_id = Some(position.last_event_id);
        self.epoch = position.epoch;
    }
}
