//! A TCP server that plays a script: it sends exactly the bytes a test wrote down.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sse::{Backoff, Client, ClientConfig, Connected, Disconnected, Error, Item, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What to do on a connection after its request has been read.
#[derive(Clone)]
pub(crate) enum Act {
    Send(Vec<u8>),
    Pause(Duration),
    /// Keep the connection open and say nothing more.
    Hold,
    /// Break the connection off with a reset.
    Reset,
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.bytes(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_slice())
    }
}

pub(crate) struct Server {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Plays one script per connection, in order; the last one again for every further one.
    pub(crate) async fn start(scripts: Vec<Vec<Act>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let task = tokio::spawn(async move {
            let mut turn = 0;
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let script = scripts[turn.min(scripts.len() - 1)].clone();
                turn += 1;
                tokio::spawn(play(socket, script, seen.clone()));
            }
        });
        Server { port, asked, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/stream", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// A client for this server that does not waste a test's time waiting.
    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig {
            backoff: Backoff {
                initial: Duration::from_millis(4),
                max: Duration::from_millis(40),
                jitter: 0.0,
                floor: Duration::from_millis(2),
            },
            ..ClientConfig::new(self.url())
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.config()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(mut socket: TcpStream, script: Vec<Act>, seen: Arc<Mutex<Vec<Asked>>>) {
    let Some(asked) = read_request(&mut socket).await else {
        return;
    };
    seen.lock().unwrap().push(asked);
    for act in script {
        match act {
            Act::Send(bytes) => {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Act::Pause(time) => tokio::time::sleep(time).await,
            Act::Hold => std::future::pending().await,
            Act::Reset => return socket.set_zero_linger().unwrap(),
        }
    }
    let _ = socket.shutdown().await;
}

async fn read_request(socket: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let line = String::from_utf8_lossy(lines.next()?).trim().to_owned();
    let headers: Vec<(String, Vec<u8>)> = lines
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
            Some((name, line[colon + 1..].trim_ascii().to_vec()))
        })
        .collect();
    let mut asked = Asked { line, headers, body: bytes[end + 4..].to_vec() };
    let length = asked.header("content-length").unwrap_or_default();
    while asked.body.len() < length.parse().unwrap_or(0) {
        socket.read_buf(&mut asked.body).await.ok()?;
    }
    Some(asked)
}

/// A whole response; the end of the connection ends the body.
pub(crate) fn response(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<Act> {
    let mut bytes = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.as_ref());
    vec![Act::Send(bytes)]
}

/// A stream that ends after `body`.
pub(crate) fn stream(body: impl AsRef<[u8]>) -> Vec<Act> {
    response("200", &["Content-Type: text/event-stream"], body)
}

/// A stream that stays open after `body`.
pub(crate) fn open_stream(body: impl AsRef<[u8]>) -> Vec<Act> {
    let mut acts = stream(body);
    acts.push(Act::Hold);
    acts
}

pub(crate) fn end() -> Vec<Act> {
    response("204", &[], "")
}

/// Everything a client reported.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connected: Vec<Connected>,
    pub(crate) disconnected: Vec<Disconnected>,
    pub(crate) events: Vec<String>,
    pub(crate) comments: Vec<String>,
    pub(crate) ended: bool,
    pub(crate) error: Option<Error>,
}

impl Seen {
    pub(crate) fn take(&mut self, item: Item<'_>) {
        match item {
            Item::Event(event) => self.events.push(format!(
                "{}[{} @{}]",
                event.event,
                event.data,
                String::from_utf8_lossy(event.id)
            )),
            Item::Comment(text) => self.comments.push(String::from_utf8_lossy(text).into_owned()),
            _ => {}
        }
    }

    pub(crate) fn signal(&mut self, signal: Result<Signal, Error>) {
        match signal {
            Ok(Signal::Connected(connected)) => self.connected.push(connected),
            Ok(Signal::Disconnected(disconnected)) => self.disconnected.push(disconnected),
            Ok(Signal::End) => self.ended = true,
            Ok(Signal::Bytes(_)) => {}
            Err(error) => self.error = Some(error),
        }
    }
}

/// Runs the client until it stops for good or `enough` is seen.
pub(crate) async fn watch(client: &mut Client, enough: impl Fn(&Seen) -> bool) -> Seen {
    let mut seen = Seen::default();
    let run = async {
        while !seen.ended && seen.error.is_none() && !enough(&seen) {
            let signal = client.advance().await;
            seen.signal(signal);
            while let Some(item) = client.next_item() {
                seen.take(item);
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), run).await.is_ok();
    assert!(in_time, "not seen within 20 s; so far: {seen:#?}");
    seen
}

/// Runs the client until it stops for good.
pub(crate) async fn watch_all(client: &mut Client) -> Seen {
    watch(client, |_| false).await
}
