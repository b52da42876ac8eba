//! A server that answers each request with what a function makes of it, and closes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingest::{Preset, RunConfig};

use crate::support::{Db, Script, config};

/// A route for every event. Its key would bear repetitions.
const ROUTE: &str = r#"
    [[route]]
    event = "*"
    table = "shop.raw"
    mode = "insert"
    key = ["epoch", "id"]
    columns = { epoch = "$epoch", id = "$id", type = "$event", data = "$data" }
"#;

/// A preset with these conventions of the stream.
pub(crate) fn preset(stream: &str) -> String {
    format!("[stream]\nname = \"feed\"\n{stream}\n{ROUTE}")
}

/// What a request asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// How many came before.
    pub(crate) before: usize,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// An answer: its bytes, and whether the connection stays open behind them.
pub(crate) struct Answer {
    text: String,
    stays: bool,
}

impl Answer {
    pub(crate) fn stream(headers: &str, body: &str) -> Self {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n";
        Self { text: format!("{head}{headers}\r\nretry: 10\n\n{body}"), stays: false }
    }

    pub(crate) fn status(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n");
        Self { text: format!("{head}{headers}\r\n{body}"), stays: false }
    }

    pub(crate) fn nothing_more() -> Self {
        Self::status("204 No Content", "", "")
    }

    /// The connection stays open, with a heartbeat now and then.
    pub(crate) fn and_stay(self) -> Self {
        Self { stays: true, ..self }
    }
}

pub(crate) struct Feed {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Feed {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut request = read(&socket);
                    {
                        let mut log = log.lock().unwrap();
                        request.before = log.len();
                        log.push(request.clone());
                    }
                    play(&socket, &answer(&request));
                });
            }
        });
        Self { port, asked }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// A run that reads this feed by this preset.
    pub(crate) fn config(&self, db: &Db, path: &str, preset: &str) -> RunConfig {
        let mut config = RunConfig {
            preset: Preset::parse(preset).unwrap(),
            ..config(db, &Script::serve(true))
        };
        config.source.url = self.url(path);
        config.source.backoff.initial = Duration::from_millis(20);
        config
    }
}

fn play(mut socket: &TcpStream, answer: &Answer) {
    let mut done = socket.write_all(answer.text.as_bytes());
    while answer.stays && done.is_ok() {
        std::thread::sleep(Duration::from_millis(50));
        done = socket.write_all(b":\n");
    }
}

fn read(socket: &TcpStream) -> Asked {
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    let _ = reader.read_line(&mut line);
    let mut words = line.split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        ..Asked::default()
    };
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let length = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    asked.body = String::from_utf8_lossy(&body).into_owned();
    asked
}
