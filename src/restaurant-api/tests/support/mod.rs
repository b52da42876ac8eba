//! The real binary on a free port, and a plain HTTP/1.1 client that hides nothing of the wire.
#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; dropped, it is killed without warning.
pub struct Server {
    pub address: String,
    child: Child,
    log: Option<JoinHandle<String>>,
}

impl Server {
    pub fn start(options: &[&str]) -> Self {
        Self::start_with(options, &[])
    }

    pub fn start_with(options: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_restaurant-api"));
        command.envs(environment.iter().copied());
        Self::start_by(command, options)
    }

    /// By a command that becomes the program with the arguments it is given.
    pub fn start_by(mut command: Command, options: &[&str]) -> Self {
        let mut child = command
            .args(["serve", "--bind", "127.0.0.1:0"])
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("the server did not start:\n{said}");
            };
            said = said + &line + "\n";
            if let Some((_, rest)) = line.split_once("listening on http://") {
                break rest.split(' ').next().unwrap().to_owned();
            }
        };
        let log = std::thread::spawn(move || {
            lines.map_while(Result::ok).fold(said, |said, line| said + &line + "\n")
        });
        Self { address, child, log: Some(log) }
    }

    pub fn get(&self, target: &str) -> Answer {
        self.get_with(target, "").unwrap()
    }

    /// `headers` are complete lines, each with its CRLF.
    pub fn get_with(&self, target: &str, headers: &str) -> io::Result<Answer> {
        let mut socket = TcpStream::connect(&self.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let host = &self.address;
        write!(socket, "GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")?;
        Answer::read(BufReader::new(socket))
    }

    pub fn json(&self, target: &str) -> Value {
        let mut answer = self.get(target);
        assert_eq!(answer.status, 200, "{target}");
        serde_json::from_str(&answer.text()).unwrap()
    }

    pub fn last_offset(&self) -> u64 {
        self.json("/health")["last_offset"].as_u64().unwrap()
    }

    pub fn wait_for(&self, offset: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.last_offset() < offset {
            assert!(Instant::now() < deadline, "offset {offset} did not come");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All retained events behind `since`, by pages, as parsed envelopes.
    pub fn history(&self, since: u64) -> Vec<Value> {
        let (mut events, mut since) = (Vec::new(), since);
        loop {
            let page = self.json(&format!("/events?since={since}&limit=5000"));
            let next = page["next_since"].as_u64().unwrap();
            if next == since {
                return events;
            }
            events.extend(page["events"].as_array().unwrap().iter().cloned());
            since = next;
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server; returns all that it logged.
    pub fn log(&mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log.take().unwrap().join().unwrap()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; how long the end took and whether it was a success.
    pub fn terminate(mut self) -> (Duration, bool) {
        let start = Instant::now();
        let pid = self.pid().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let status = self.child.wait().unwrap();
        (start.elapsed(), status.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    body: BufReader<Body>,
}

impl Answer {
    fn read(mut socket: BufReader<TcpStream>) -> io::Result<Self> {
        let mut line = String::new();
        socket.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut headers = HashMap::new();
        loop {
            line.clear();
            socket.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let chunked = headers.contains_key("transfer-encoding");
        let length = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
        let body = Body { socket, left: if chunked { 0 } else { length }, chunked };
        Ok(Self { status, headers, body: BufReader::new(body) })
    }

    pub fn text(&mut self) -> String {
        let mut text = String::new();
        self.body.read_to_string(&mut text).unwrap();
        text
    }

    /// The next block; `None` at a clean end, an error if the connection broke.
    pub fn block(&mut self) -> io::Result<Option<Block>> {
        let mut block = Block::default();
        let mut line = String::new();
        loop {
            line.clear();
            if self.body.read_line(&mut line)? == 0 {
                assert_eq!(block.raw, "", "the stream ended inside a block");
                return Ok(None);
            }
            block.raw.push_str(&line);
            match line.trim_end_matches('\n').split_once(": ") {
                None => return Ok(Some(block)),
                Some(("id", id)) => block.id = id.parse().unwrap(),
                Some(("event", event)) => block.event = event.to_owned(),
                Some(("data", data)) => block.data = data.to_owned(),
                Some(("", comment)) => block.comment = comment.to_owned(),
                Some(("retry", millis)) => assert_eq!(millis, "1000"),
                Some(other) => panic!("unexpected field {other:?}"),
            }
        }
    }

    /// The next block with an event; comments are skipped.
    pub fn event(&mut self) -> Option<Block> {
        loop {
            let block = self.block().unwrap()?;
            if !block.event.is_empty() {
                return Some(block);
            }
        }
    }

    pub fn events(&mut self, count: usize) -> Vec<Block> {
        std::iter::from_fn(|| self.event()).take(count).collect()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub id: u64,
    pub event: String,
    pub data: String,
    pub comment: String,
    pub raw: String,
}

impl Block {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

pub fn ids(blocks: &[Block]) -> Vec<u64> {
    blocks.iter().map(|block| block.id).collect()
}

struct Body {
    socket: BufReader<TcpStream>,
    left: usize,
    chunked: bool,
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.chunked {
            let mut line = String::new();
            self.socket.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16);
            self.left = size.map_err(|_| io::ErrorKind::UnexpectedEof)?;
            if self.left == 0 {
                self.chunked = false;
                return Ok(0);
            }
        }
        let most = out.len().min(self.left);
        if most == 0 {
            return Ok(0);
        }
        let count = self.socket.read(&mut out[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count;
        if self.left == 0 && self.chunked {
            self.socket.read_exact(&mut [0; 2])?;
        }
        Ok(count)
    }
}

/// A directory of its own for one test, removed afterwards.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("restaurant-api-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn str(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
