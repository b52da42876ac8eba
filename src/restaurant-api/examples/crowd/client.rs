//! One connection: the request, the head of the answer, and the chunks of its body.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::scanner::Scanner;

pub(crate) struct Client {
    pub(crate) scanner: Scanner,
    head: Vec<u8>,
    at: At,
}

/// Where the next byte belongs.
enum At {
    Head,
    /// In the line that says how long the next chunk is; so far it says this.
    Size(usize),
    /// In a chunk, with so many bytes to come, its line end included.
    Chunk(usize),
    End,
}

/// Connects and asks.
pub(crate) async fn connect(
    address: SocketAddr,
    target: &str,
    token: Option<&str>,
) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n{token}\r\n");
    let mut rest = request.as_bytes();
    while !rest.is_empty() {
        socket.writable().await?;
        match socket.try_write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(socket)
}

/// Reads until the stream ends. Dropped at any time, it leaves what it counted in `client`.
pub(crate) async fn read(
    socket: TcpStream,
    client: &RefCell<Client>,
    buffer: &RefCell<Vec<u8>>,
) -> io::Result<()> {
    loop {
        // Everyone in turn: one whose socket is never empty would keep the thread for long.
        tokio::task::yield_now().await;
        socket.readable().await?;
        let mut buffer = buffer.borrow_mut();
        match socket.try_read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                let mut client = client.borrow_mut();
                client.take(&buffer[..count])?;
                if matches!(client.at, At::End) {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

impl Client {
    pub(crate) fn new(scanner: Scanner) -> Self {
        Self { scanner, head: Vec::new(), at: At::Head }
    }

    pub(crate) fn answered(&self) -> bool {
        !matches!(self.at, At::Head)
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if matches!(self.at, At::Head) {
            self.head.extend_from_slice(bytes);
            let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
                return Ok(());
            };
            let head = String::from_utf8_lossy(&self.head[..end]).to_lowercase();
            if !head.starts_with("http/1.1 200 ") || !head.contains("transfer-encoding: chunked") {
                let line = head.lines().next().unwrap_or_default();
                return Err(io::Error::other(format!("the server answered {line:?}")));
            }
            bytes = &bytes[bytes.len() - (self.head.len() - end - 4)..];
            self.at = At::Size(0);
        }
        while let Some((byte, rest)) = bytes.split_first() {
            match &mut self.at {
                At::Size(size) => {
                    bytes = rest;
                    match (byte, char::from(*byte).to_digit(16)) {
                        (b'\n', _) if *size == 0 => self.at = At::End,
                        (b'\n', _) => self.at = At::Chunk(*size + 2),
                        (_, Some(digit)) => *size = *size << 4 | digit as usize,
                        _ => {}
                    }
                }
                At::Chunk(left) => {
                    let now = bytes.len().min(*left);
                    let events = now.min(left.saturating_sub(2));
                    self.scanner.take(&bytes[..events]);
                    bytes = &bytes[now..];
                    *left -= now;
                    if *left == 0 {
                        self.at = At::Size(0);
                    }
                }
                At::Head | At::End => break,
            }
        }
        Ok(())
    }
}
