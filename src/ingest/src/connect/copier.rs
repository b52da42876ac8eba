//! Binary COPY through a session.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use futures_util::future::try_join;
use tokio::sync::mpsc;
use tokio_postgres::{Client, Error, Statement};

use super::pipe::{Feed, Feeds};
use crate::encode::copy;

/// How much is handed over at once. Small enough that it stays in the processor's cache until it is
/// sent.
const CHUNK: usize = 64 << 10;

/// "d" and a length.
const COPY_DATA_HEADER: usize = 5;

/// Sends rows by COPY statements.
#[derive(Clone)]
pub(crate) struct Copier {
    pub(super) client: Arc<Client>,
    /// `None` where the driver's own way must do: over a Unix socket.
    pub(super) feeds: Option<Feeds>,
}

impl Copier {
    /// Whether a COPY, and any other statement, may be sent before the one before it was answered.
    pub(crate) fn can_queue(&self) -> bool {
        self.feeds.is_some()
    }

    /// Copies rows and returns how many were taken. `put` appends one row's fields.
    pub(crate) async fn copy<R>(
        &self,
        statement: &Statement,
        field_count: i16,
        rows: impl IntoIterator<Item = R>,
        put: impl Fn(R, &mut BytesMut),
    ) -> Result<u64, Error> {
        let Some(feeds) = &self.feeds else {
            return self.copy_by_driver(statement, field_count, rows, put).await;
        };
        let (sender, feed) = mpsc::channel(1);
        let answered = async {
            // In one go, so that the feed meets its statement.
            feeds.push(feed);
            self.client.execute(statement, &[]).await
        };
        let fed = async {
            let mut chunks = Chunks::new(field_count, COPY_DATA_HEADER);
            for row in rows {
                if let Some(chunk) = chunks.add(row, &put)
                    && sender.send(Feed::Data(message(chunk))).await.is_err()
                {
                    // The connection is gone, which the answer says, too.
                    return Ok(());
                }
            }
            let _ = sender.send(Feed::Data(message(chunks.end()))).await;
            let _ = sender.send(Feed::End).await;
            Ok(())
        };
        try_join(answered, fed).await.map(|(count, ())| count)
    }

    async fn copy_by_driver<R>(
        &self,
        statement: &Statement,
        field_count: i16,
        rows: impl IntoIterator<Item = R>,
        put: impl Fn(R, &mut BytesMut),
    ) -> Result<u64, Error> {
        let sink = self.client.copy_in::<_, Bytes>(statement).await?;
        futures_util::pin_mut!(sink);
        let mut chunks = Chunks::new(field_count, 0);
        for row in rows {
            if let Some(chunk) = chunks.add(row, &put) {
                sink.send(chunk.freeze()).await?;
            }
        }
        sink.send(chunks.end().freeze()).await?;
        sink.finish().await
    }
}

/// Rows, gathered into pieces that begin with room for a header.
struct Chunks {
    buffer: BytesMut,
    field_count: i16,
    header: usize,
}

impl Chunks {
    fn new(field_count: i16, header: usize) -> Self {
        let mut chunks = Self { buffer: BytesMut::new(), field_count, header };
        chunks.begin();
        copy::begin(&mut chunks.buffer);
        chunks
    }

    fn begin(&mut self) {
        self.buffer.put_bytes(0, self.header);
    }

    /// Adds a row; a piece where it is large enough.
    fn add<R>(&mut self, row: R, put: &impl Fn(R, &mut BytesMut)) -> Option<BytesMut> {
        copy::begin_row(&mut self.buffer, self.field_count);
        put(row, &mut self.buffer);
        (self.buffer.len() >= CHUNK).then(|| {
            let full = self.buffer.split();
            self.buffer.reserve(CHUNK + CHUNK / 4);
            self.begin();
            full
        })
    }

    fn end(mut self) -> BytesMut {
        copy::end(&mut self.buffer);
        self.buffer
    }
}

/// Makes a CopyData message of a piece with room for its header.
fn message(mut chunk: BytesMut) -> Bytes {
    let length = (chunk.len() - 1) as u32;
    chunk[0] = b'd';
    chunk[1..COPY_DATA_HEADER].copy_from_slice(&length.to_be_bytes());
    chunk.freeze()
}
