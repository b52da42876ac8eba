//! The programs over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

struct Tool(Child, u16);

impl Tool {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let port = line.trim().strip_prefix("listening on ").expect(&line).parse().expect("a port");
        Self(child, port)
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.1)).expect("a connection")
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an SSE client would see of the body: chunks without their frames.
fn body(mut stream: impl BufRead, until: &str) -> String {
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(stream.read_line(&mut line).expect("a head"), 0);
    }
    let mut text = String::new();
    while !text.contains(until) {
        line.clear();
        stream.read_line(&mut line).expect("a length");
        let mut chunk = vec![0; usize::from_str_radix(line.trim(), 16).expect("a length") + 2];
        stream.read_exact(&mut chunk).expect("a chunk");
        assert!(chunk.ends_with(b"\r\n"));
        text.push_str(&String::from_utf8_lossy(&chunk[..chunk.len() - 2]));
    }
    text
}

fn block(offset: u64) -> String {
    format!(
        "id: {offset}\nevent: order_created\ndata: {{\"offset\":{offset},\
         \"event_id\":\"019bbef3-b000-7000-93eb-4569bbb05aa1\",\
         \"ts\":\"2026-01-15T00:00:00.000001Z\"}}\n\n"
    )
}

#[test]
fn a_feed_resumes_goes_on_beyond_its_file_and_then_waits() {
    let path = std::env::temp_dir().join(format!("bench-tools-{}.sse", std::process::id()));
    std::fs::write(&path, (1..=3).map(block).collect::<String>()).expect("a file");
    let file = path.to_str().expect("a name");
    let tool = Tool::start(env!("CARGO_BIN_EXE_serve"), &[file, "--events=5"]);
    let mut stream = tool.connect();
    stream.write_all(b"GET /stream HTTP/1.1\r\nlast-event-id: 2\r\n\r\n").expect("a request");
    let text = body(BufReader::new(stream), ":\n\n");
    let ids: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids, ["3", "4", "5"]);
    assert!(text.starts_with(&block(3)) && text.ends_with(":\n\n"), "{text}");
    std::fs::remove_file(path).expect("the file goes");
}

/// A server that sends back what it gets.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut writer = client.try_clone().expect("a second handle");
        let _ = std::io::copy(&mut client, &mut writer);
    });
    port
}

#[test]
fn a_delay_is_paid_in_each_direction_and_takes_no_bandwidth() {
    let server = format!("127.0.0.1:{}", echo());
    let tool = Tool::start(env!("CARGO_BIN_EXE_delay"), &[&server, "--ms=40"]);
    let mut client = tool.connect();
    let start = Instant::now();
    client.write_all(b"x").expect("a byte out");
    client.read_exact(&mut [0]).expect("a byte back");
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());

    // Were the proxy to wait for one piece before it reads the next, this would take 10 s.
    let sent = vec![7; 16 << 20];
    let mut writer = client.try_clone().expect("a second handle");
    let start = Instant::now();
    let copy = sent.clone();
    let sender = thread::spawn(move || writer.write_all(&copy));
    let mut back = vec![0; sent.len()];
    client.read_exact(&mut back).expect("everything back");
    sender.join().expect("no panic").expect("everything out");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(back, sent);
}
