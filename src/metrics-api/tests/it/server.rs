//! The real program on a free port, and clients of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::database::Db;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; dropped, it is killed without warning.
pub(crate) struct Server {
    pub(crate) address: String,
    child: Child,
}

impl Server {
    pub(crate) fn start(db: &Db, options: &[&str]) -> Self {
        Self::over(&db.url(), options)
    }

    pub(crate) fn over(url: &str, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_metrics-api"))
            .args(["--listen", "127.0.0.1:0", "--connections", "3"])
            .args(options)
            .env("DATABASE_URL", url)
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
                break rest.to_owned();
            }
        };
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| eprintln!("server: {line}"));
        });
        Self { address, child }
    }

    /// With a start that could read its books once.
    pub(crate) async fn ready(db: &Db, options: &[&str]) -> Self {
        db.heard(0.0).await;
        let server = Self::start(db, options);
        server.until("/ready", |status, _| status == 200).await;
        // The codes of the sites are read behind the first look.
        server.until("/kpis?location=none", |status, _| status == 400).await;
        server
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    pub(crate) async fn get(&self, target: &str) -> (u16, Value) {
        self.get_as(target, None).await
    }

    pub(crate) async fn get_as(&self, target: &str, token: Option<&str>) -> (u16, Value) {
        let mut request = http().get(self.url(target)).timeout(PATIENCE);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The answer, which must be 200.
    pub(crate) async fn json(&self, target: &str) -> Value {
        let (status, body) = self.get(target).await;
        assert_eq!(status, 200, "{target}: {body}");
        body
    }

    /// Asks until the answer is as wanted.
    pub(crate) async fn until(&self, target: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.get(target).await;
            if wanted(status, &body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{target} stays at {status}: {body}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// SIGTERM; how long the end took and whether it was a success.
    pub(crate) fn terminate(mut self) -> (Duration, bool) {
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

/// One message of the live stream.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

impl Message {
    /// From the JSON of either form.
    pub(crate) fn new(text: &str) -> Self {
        let json: Value = serde_json::from_str(text).unwrap();
        assert_eq!(json["v"], 1);
        let word = |name: &str| json[name].as_str().unwrap().to_owned();
        Self { id: word("id"), kind: word("type"), data: json["data"].clone() }
    }

    pub(crate) fn number(&self) -> u64 {
        self.id.rsplit_once('-').unwrap().1.parse().unwrap()
    }

    pub(crate) fn has_order(&self, id: &str) -> bool {
        self.kind == "orders"
            && self.data["rows"].as_array().unwrap().iter().any(|row| row["order_id"] == id)
    }
}

/// A client for plain http.
pub(crate) fn http() -> reqwest::Client {
    // Only the first of the tests can; then it is there for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}

/// A client of the live stream as server-sent events.
pub(crate) struct Sse {
    answer: reqwest::Response,
    buffer: String,
    /// No test listens longer: one that waits for what never comes shall fail and not hang.
    deadline: Instant,
}

impl Sse {
    pub(crate) async fn open(server: &Server, query: &str, last: Option<&str>) -> Self {
        let mut request = http().get(server.url(&format!("/live{query}")));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, buffer: String::new(), deadline: Instant::now() + PATIENCE * 3 }
    }

    /// The next message; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        assert!(Instant::now() < self.deadline, "what was waited for did not come");
        loop {
            while let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                let field = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                };
                if let Some(data) = field("data: ") {
                    let message = Message::new(&data);
                    assert_eq!(field("id: ").as_ref(), Some(&message.id));
                    assert_eq!(field("event: ").as_ref(), Some(&message.kind));
                    return Some(message);
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.unwrap();
            match chunk {
                Ok(Some(bytes)) => self.buffer += std::str::from_utf8(&bytes).unwrap(),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&Message) -> bool) -> Message {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.next().await.expect("the stream goes on");
            if wanted(&message) {
                return message;
            }
            assert!(Instant::now() < deadline, "it did not come; last was {message:?}");
        }
    }

    pub(crate) async fn of(&mut self, kind: &str) -> Message {
        self.until(|message| message.kind == kind).await
    }
}
