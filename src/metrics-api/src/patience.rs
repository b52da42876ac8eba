//! Patience with a client that reads nothing: it ends, so that such clients cost nothing for long.
//!
//! A body that nobody asks for cannot end itself: what stands between the socket and the server
//! does. A client that reads slowly but reads is not ended here; its queue is bounded elsewhere.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

/// Bytes that the system takes for a client beyond those on their way to it: without a bound a
/// client that reads nothing costs 4 MB of the memory that all sockets of the machine share.
const UNSENT_BYTES: u32 = 64 << 10;

/// Accepts connections whose writes fail once the client has taken nothing for so long.
pub struct PatientListener {
    pub listener: TcpListener,
    pub patience: Duration,
    /// Counts those whom patience has left.
    pub cut_off: Arc<AtomicU64>,
}

impl Listener for PatientListener {
    type Io = PatientStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Axum's own, which waits a moment where no file can be opened.
        let (socket, address) = Listener::accept(&mut self.listener).await;
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES);
        let (patience, cut_off) = (self.patience, Arc::clone(&self.cut_off));
        (PatientStream { socket, patience, cut_off, end: None }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A socket that does not wait for ever to be written to.
pub struct PatientStream {
    socket: TcpStream,
    patience: Duration,
    cut_off: Arc<AtomicU64>,
    /// When patience ends; only while a write waits.
    end: Option<Pin<Box<Sleep>>>,
}

impl PatientStream {
    fn wait<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.end = None;
            return written;
        }
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        match end.as_mut().poll(context) {
            Poll::Ready(()) => {
                self.end = None;
                self.cut_off.fetch_add(1, Relaxed);
                Poll::Ready(Err(ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for PatientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for PatientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.wait(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.wait(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
