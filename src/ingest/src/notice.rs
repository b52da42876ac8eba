//! A word on the channel `sse_stream` for each commit that brought rows, to readers who wait for them.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Statement};

use crate::connect::Param;
use crate::offsets::Key;
use crate::settle::Committed;

/// Behind the transaction, not in it: PostgreSQL lets one session after the other commit a
/// notification, and refuses the commit when its queue is full. Says nothing unless the commit stands.
const TELL: &str = "
    select pg_notify('sse_stream', json_build_object('stream', stream, 'shard', shard,
        'writer', writer, 'position', position, 'events', $6::bigint)::text)
    from sse_stream.offsets
    where stream = $1 and shard = $2 and writer = $3 and fence = $4 and position = $5";

/// A replay has no offset that could say so.
const TELL_OF_REPLAY: &str = "
    select pg_notify('sse_stream',
        json_build_object('stream', $1, 'shard', $2, 'events', $3)::text)";

/// How a writer tells of its commits.
pub(crate) struct Notice(Statement);

impl Notice {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, Error> {
        client.prepare(TELL).await.map(Self)
    }

    /// To be said in one flight with the commit that moves the offset to `position`, or leaves it
    /// there.
    pub(crate) async fn tell(
        &self,
        client: &Client,
        (stream, shard): Key<'_>,
        (writer, fence): (i32, i64),
        position: i64,
        done: &Committed,
    ) {
        if done.rows.values().all(|rows| *rows == 0) {
            return;
        }
        let events = (done.events + done.resumed) as i64;
        let params: [&(dyn ToSql + Sync); 6] =
            [&stream, &shard, &writer, &fence, &position, &events];
        hear(client.execute(&self.0, &params).await);
    }
}

/// Tells of letters that a replay landed; to be said in one flight with its commit.
pub(crate) async fn tell_of_replay(client: &Client, (stream, shard): Key<'_>, landed: u64) {
    if landed > 0 {
        let events = landed as i64;
        let params: [Param<'_>; 3] =
            [(&stream, Type::TEXT), (&shard, Type::INT4), (&events, Type::INT8)];
        hear(client.execute_typed(TELL_OF_REPLAY, &params).await);
    }
}

/// Listeners look by themselves now and then; the rows stand without them.
fn hear(told: Result<u64, Error>) {
    if let Err(error) = told {
        tracing::debug!("nobody was told of a commit: {error}");
    }
}
