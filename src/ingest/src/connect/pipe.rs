//! COPY data in one flight with the statements around it.
//!
//! The protocol lets a client send Execute, the data of the COPY, CopyDone and Sync at once, and
//! more statements behind them (PostgreSQL documentation, 55.2.3 and 55.2.6). The driver instead waits
//! for CopyInResponse before it sends data, and its Sync before the data makes a COPY that is refused
//! answer twice, so that nothing can be queued behind it: two round trips for each table.
//! [`Pipe`] stands between driver and socket. To the driver a COPY is a plain statement; its data is
//! put in behind its Execute, and CopyInResponse, which the driver would not expect, is taken out.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// What a COPY is fed with.
pub(super) enum Feed {
    /// Bytes of CopyData messages.
    Data(Bytes),
    /// The data is complete. Without this word, where the sender is dropped, the COPY fails.
    End,
}

/// The data of COPY statements that are about to be sent, in their order.
#[derive(Clone, Default)]
pub(super) struct Feeds(Arc<Mutex<VecDeque<mpsc::Receiver<Feed>>>>);

impl Feeds {
    pub(super) fn push(&self, feed: mpsc::Receiver<Feed>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(feed);
    }

    fn pop(&self) -> Option<mpsc::Receiver<Feed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

const COPY_DONE: &[u8] = b"c\0\0\0\x04";
/// "f", the length, and the reason as a C string.
const COPY_FAIL: &[u8] = b"f\0\0\0\x0dgiven up\0";
/// Above this the driver's messages wait.
const MOST_QUEUED: usize = 256 << 10;
/// How much of a message is looked at: names of ours are short.
const LOOKED_AT: usize = 128;

/// What is to be written, in order.
enum Piece {
    Bytes(Bytes),
    Feed(mpsc::Receiver<Feed>),
}

/// The stream between the driver and the socket or its TLS.
pub(super) struct Pipe<S> {
    inner: S,
    feeds: Feeds,
    sent: Frontend,
    received: Backend,
    queue: VecDeque<Piece>,
    queued: usize,
}

impl<S> Pipe<S> {
    fn new(inner: S, feeds: Feeds) -> Self {
        Self {
            inner,
            feeds,
            sent: Frontend::default(),
            received: Backend::default(),
            queue: VecDeque::new(),
            queued: 0,
        }
    }

    /// Takes what the driver sends, and puts a feed behind each Execute of a COPY that has one.
    fn take(&mut self, mut bytes: &[u8]) {
        let mut start = bytes;
        let mut length = 0;
        while !bytes.is_empty() {
            let (used, executed) = self.sent.step(bytes);
            (bytes, length) = (&bytes[used..], length + used);
            if !executed {
                continue;
            }
            if let Some(feed) = self.feeds.pop() {
                self.put(&start[..length]);
                self.queue.push_back(Piece::Feed(feed));
                (start, length) = (bytes, 0);
            }
        }
        self.put(&start[..length]);
    }

    fn put(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.queued += bytes.len();
            self.queue.push_back(Piece::Bytes(Bytes::copy_from_slice(bytes)));
        }
    }
}

impl<S: AsyncWrite + Unpin> Pipe<S> {
    /// Writes what is queued; waits for feeds that are not there yet.
    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(piece) = self.queue.front_mut() {
            match piece {
                Piece::Bytes(bytes) => {
                    let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    bytes.advance(written);
                    self.queued -= written;
                    if bytes.is_empty() {
                        self.queue.pop_front();
                    }
                }
                Piece::Feed(feed) => {
                    let next = match feed.poll_recv(cx) {
                        Poll::Ready(next) => next,
                        Poll::Pending => {
                            // The server may work on what it has.
                            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
                            return Poll::Pending;
                        }
                    };
                    let bytes = match next {
                        Some(Feed::Data(bytes)) => bytes,
                        end => {
                            self.queue.pop_front();
                            let done = matches!(end, Some(Feed::End));
                            Bytes::from_static(if done { COPY_DONE } else { COPY_FAIL })
                        }
                    };
                    self.queued += bytes.len();
                    self.queue.push_front(Piece::Bytes(bytes));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pipe<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.queued > MOST_QUEUED {
            ready!(self.poll_drive(cx))?;
        }
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drive(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drive(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Pipe<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = out.filled().len();
        loop {
            ready!(Pin::new(&mut self.inner).poll_read(cx, out))?;
            let read = out.filled().len() - start;
            let kept = self.received.filter(&mut out.filled_mut()[start..]);
            out.set_filled(start + kept);
            // Nothing read is the end; nothing kept is not.
            if read == 0 || kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for Pipe<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// A message's type and length, which may come in pieces.
#[derive(Default)]
struct Header {
    bytes: [u8; 5],
    seen: usize,
}

impl Header {
    /// Takes as much as is missing; the length of the body once it is complete.
    fn take(&mut self, bytes: &[u8]) -> (usize, Option<usize>) {
        let used = bytes.len().min(5 - self.seen);
        self.bytes[self.seen..self.seen + used].copy_from_slice(&bytes[..used]);
        self.seen += used;
        if self.seen < 5 {
            return (used, None);
        }
        self.seen = 0;
        let [_, length @ ..] = self.bytes;
        (used, Some((u32::from_be_bytes(length) as usize).saturating_sub(4)))
    }

    fn tag(&self) -> u8 {
        self.bytes[0]
    }
}

/// Follows what the driver sends.
struct Frontend {
    header: Header,
    /// What is left of the present message's body.
    left: usize,
    /// The beginning of the body, of messages that are looked at.
    body: Vec<u8>,
    /// Names of the prepared statements that copy.
    copies: HashSet<Vec<u8>>,
    /// The statement that was bound last copies.
    bound: bool,
}

impl Default for Frontend {
    fn default() -> Self {
        Self {
            // The first message has no type.
            header: Header { bytes: [0; 5], seen: 1 },
            left: 0,
            body: Vec::new(),
            copies: HashSet::new(),
            bound: false,
        }
    }
}

impl Frontend {
    /// Goes on in the bytes, at most to the end of a message. Returns how many it used, and whether
    /// that was the Execute of a COPY.
    fn step(&mut self, bytes: &[u8]) -> (usize, bool) {
        if self.left == 0 {
            let (used, body) = self.header.take(bytes);
            let Some(body) = body else { return (used, false) };
            self.left = body;
            self.body.clear();
            return (used, body == 0 && self.end());
        }
        let used = bytes.len().min(self.left);
        if matches!(self.header.tag(), b'P' | b'B') {
            let wanted = used.min(LOOKED_AT - self.body.len());
            self.body.extend_from_slice(&bytes[..wanted]);
        }
        self.left -= used;
        (used, self.left == 0 && self.end())
    }

    /// A message is complete.
    fn end(&mut self) -> bool {
        let mut fields = self.body.split(|byte| *byte == 0);
        match self.header.tag() {
            // Parse: statement, query, types of parameters.
            b'P' => {
                if let (Some(name), Some(query)) = (fields.next(), fields.next())
                    && query.starts_with(b"copy ")
                {
                    self.copies.insert(name.to_vec());
                }
                false
            }
            // Bind: portal, statement, parameters.
            b'B' => {
                self.bound = fields.nth(1).is_some_and(|name| self.copies.contains(name));
                false
            }
            b'E' => std::mem::take(&mut self.bound),
            _ => false,
        }
    }
}

/// Follows what the server sends.
#[derive(Default)]
struct Backend {
    header: Header,
    left: usize,
    dropping: bool,
}

impl Backend {
    const COPY_IN_RESPONSE: u8 = b'G';

    /// Moves what the driver is to see to the front, and returns how much that is.
    fn filter(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() {
            let used = if self.left == 0 {
                if self.header.seen == 0 {
                    self.dropping = bytes[at] == Self::COPY_IN_RESPONSE;
                }
                let (used, body) = self.header.take(&bytes[at..]);
                self.left = body.unwrap_or(0);
                used
            } else {
                let used = self.left.min(bytes.len() - at);
                self.left -= used;
                used
            };
            if !self.dropping {
                bytes.copy_within(at..at + used, kept);
                kept += used;
            }
            at += used;
        }
        kept
    }
}

/// Puts a pipe on top of another connector's TLS.
#[derive(Clone)]
pub(super) struct Piped<M> {
    pub(super) tls: M,
    pub(super) feeds: Feeds,
}

impl<M> MakeTlsConnect<Socket> for Piped<M>
where
    M: MakeTlsConnect<Socket>,
    M::Stream: Send + 'static,
    M::TlsConnect: Send + 'static,
    <M::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    type Stream = Pipe<M::Stream>;
    type TlsConnect = Piped<M::TlsConnect>;
    type Error = M::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, Self::Error> {
        let tls = self.tls.make_tls_connect(domain)?;
        Ok(Piped { tls, feeds: self.feeds.clone() })
    }
}

impl<T> TlsConnect<Socket> for Piped<T>
where
    T: TlsConnect<Socket> + Send + 'static,
    T::Stream: Send + 'static,
    T::Future: Send,
{
    type Stream = Pipe<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, T::Error>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move { Ok(Pipe::new(self.tls.connect(socket).await?, self.feeds)) })
    }
}

/// A "TLS" that encrypts nothing: the driver's way to put something between itself and the socket.
#[derive(Clone)]
pub(super) struct Plain;

/// The bare socket.
pub(super) struct Bare(Socket);

impl MakeTlsConnect<Socket> for Plain {
    type Stream = Bare;
    type TlsConnect = Self;
    type Error = io::Error;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, io::Error> {
        Ok(Self)
    }
}

impl TlsConnect<Socket> for Plain {
    type Stream = Bare;
    type Error = io::Error;
    type Future = std::future::Ready<Result<Bare, io::Error>>;

    fn connect(self, socket: Socket) -> Self::Future {
        std::future::ready(Ok(Bare(socket)))
    }
}

impl AsyncRead for Bare {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Bare {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl TlsStream for Bare {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[tag], &length[..], body].concat()
    }

    /// The first message of a session, two statements, and each of them once, the one that copies in
    /// two parts around its data.
    fn session() -> (Vec<u8>, Vec<u8>) {
        let startup = [&13u32.to_be_bytes()[..], b"\0\x03\0\0user\0"].concat();
        let long = format!("copy x ({}) from stdin\0\0\0", "column, ".repeat(40));
        let before = [
            startup,
            message(b'P', &[b"s0\0", long.as_bytes()].concat()),
            message(b'P', b"s1\0select 'copy '\0\0\0"),
            message(b'S', b""),
            message(b'B', &[&b"\0s1\0"[..], &[7; 300]].concat()),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
            message(b'B', b"\0s0\0\0\0\0\0\0\0"),
            message(b'E', b"\0\0\0\0\0"),
        ];
        let after = [
            message(b'S', b""),
            message(b'B', b"\0s1\0\0\0\0\0\0\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'Q', b"commit\0"),
        ];
        (before.concat(), after.concat())
    }

    /// Sends `bytes` in pieces and returns what arrives.
    async fn sent(bytes: &[u8], pieces: &[usize], feeds: Feeds) -> Vec<u8> {
        let (near, mut far) = duplex(50);
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            got
        });
        let mut pipe = Pipe::new(near, feeds);
        let (mut rest, mut sizes) = (bytes, pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            pipe.write_all(piece).await.unwrap();
            rest = more;
        }
        pipe.shutdown().await.unwrap();
        drop(pipe);
        reader.await.unwrap()
    }

    proptest! {
        #[test]
        fn data_stands_behind_the_execute_of_its_copy(
            pieces in prop::collection::vec(1..200usize, 1..20),
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 0..5),
            ends in any::<bool>(),
        ) {
            let (before, after) = session();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let got = runtime.block_on(async {
                let (sender, feed) = mpsc::channel(1);
                let feeds = Feeds::default();
                feeds.push(feed);
                let chunks = chunks.clone();
                tokio::spawn(async move {
                    for chunk in chunks {
                        sender.send(Feed::Data(chunk.into())).await.unwrap();
                    }
                    if ends {
                        sender.send(Feed::End).await.unwrap();
                    }
                });
                sent(&[before.clone(), after.clone()].concat(), &pieces, feeds).await
            });
            let end = if ends { COPY_DONE } else { COPY_FAIL };
            prop_assert_eq!(got, [before, chunks.concat(), end.to_vec(), after].concat());
        }

        #[test]
        fn of_what_the_server_says_only_the_word_to_begin_is_taken_out(
            pieces in prop::collection::vec(1..30usize, 1..20),
        ) {
            let begin = message(b'G', b"\x01\0\x02\0\x01\0\x01");
            let other = message(b'2', b"");
            let row = message(b'D', &[b'G'; 40]);
            let stream = [other.clone(), begin.clone(), begin, row.clone(), other.clone()].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let got = runtime.block_on(async {
                let (near, mut far) = duplex(1000);
                let pieces = pieces.clone();
                tokio::spawn(async move {
                    let (mut rest, mut sizes) = (&stream[..], pieces.iter().cycle());
                    while !rest.is_empty() {
                        let (piece, more) =
                            rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                        far.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                        rest = more;
                    }
                });
                let mut got = Vec::new();
                Pipe::new(near, Feeds::default()).read_to_end(&mut got).await.unwrap();
                got
            });
            prop_assert_eq!(got, [other.clone(), row, other].concat());
        }
    }

    #[tokio::test]
    async fn a_copy_without_a_feed_is_left_to_the_driver() {
        let (before, after) = session();
        let all = [before, after].concat();
        assert_eq!(sent(&all, &[64], Feeds::default()).await, all);
    }
}
