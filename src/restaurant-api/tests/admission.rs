//! Who is let in, asked of the real server: the token, the sizes, the number of streams.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use support::{Answer, Dir, PATIENCE, Server};

const CLOSED: [&str; 4] = ["/events", "/stream?since=0", "/metrics", "/nowhere"];
const OPEN: [&str; 3] = ["/health", "/docs", "/openapi.json"];

fn code(answer: &mut Answer) -> String {
    let body: Value = serde_json::from_str(&answer.text()).unwrap();
    assert!(body["error"]["message"].is_string(), "{body}");
    body["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_is_asked_for_everywhere_but_at_the_open_doors() {
    let server = Server::start(&["--events-per-second", "100", "--token", "right-token"]);
    for target in CLOSED {
        for header in [
            "",
            "Authorization: Bearer wrong-token\r\n",
            "Authorization: Bearer right-tokem\r\n",
            "Authorization: Bearer right-token-and-more\r\n",
            "Authorization: Basic right-token\r\n",
            "Authorization: right-token\r\n",
            "Authorization: Bearer right-token\r\nAuthorization: Bearer x\r\n",
        ] {
            let mut answer = server.get_with(target, header).unwrap();
            assert_eq!(answer.status, 401, "{target} {header}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"restaurant-api\"");
            assert_eq!(code(&mut answer), "unauthorized");
        }
    }
    let right = "Authorization: Bearer right-token\r\n";
    assert_eq!(server.get_with("/events", right).unwrap().status, 200);
    assert_eq!(server.get_with("/nowhere", right).unwrap().status, 404);
    assert_eq!(server.get_with("/stream?since=0", right).unwrap().events(3).len(), 3);
    for target in OPEN {
        assert_eq!(server.get(target).status, 200, "{target}");
    }
    let metrics = server.get_with("/metrics", right).unwrap().text();
    assert!(metrics.contains("{route=\"/events\",status=\"401\"} 7"), "{metrics}");
}

#[test]
fn a_token_may_stand_in_a_file_or_in_the_environment() {
    let dir = Dir::new();
    let path = dir.path().join("token");
    std::fs::write(&path, "from-a-file\nnot this\n").unwrap();
    let file = Server::start(&["--token-file", path.to_str().unwrap()]);
    let variable = Server::start_with(&[], &[("RESTAURANT_API_TOKEN", "from-a-variable")]);
    for (server, token) in [(file, "from-a-file"), (variable, "from-a-variable")] {
        assert_eq!(server.get("/events").status, 401);
        let header = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(server.get_with("/events", &header).unwrap().status, 200);
    }
}

#[test]
fn a_token_that_cannot_be_used_is_refused_and_never_shown() {
    let dir = Dir::new();
    let (empty, missing) = (dir.path().join("empty"), dir.path().join("missing"));
    std::fs::write(&empty, "\n").unwrap();
    let (empty, missing) = (empty.to_str().unwrap(), missing.to_str().unwrap());
    for (options, said) in [
        (["--token", "s3cret with blanks"].as_slice(), "--token"),
        (&["--token", ""], "--token"),
        (&["--token-file", empty], empty),
        (&["--token-file", missing], missing),
        (&["--token", "s3cret", "--token-file", empty], "cannot be used with"),
        (&["--token", "s3cret", "--max-streams", "0"], "--max-streams"),
        (&["--token", "s3cret", "--help"], "RESTAURANT_API_TOKEN"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_restaurant-api"))
            .args(["serve", "--bind", "127.0.0.1:0"])
            .args(options)
            .env("RESTAURANT_API_SEED", "1")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(said), "{options:?}: {text}");
        assert!(!text.contains("s3cret"), "{options:?}: {text}");
        assert!(!output.status.success() || options.contains(&"--help"), "{options:?}");
    }
}

#[test]
fn the_log_at_its_most_talkative_does_not_show_the_token() {
    let options = ["--token", "right-token", "--log", "trace", "--max-streams", "1"];
    let mut server = Server::start(&options);
    for token in ["right-token", "wrong-token"] {
        let header = format!("Authorization: Bearer {token}\r\nCookie: a={token}\r\n");
        server.get_with("/events?limit=1", &header).unwrap().text();
    }
    let log = server.log();
    assert!(log.contains("listening on"), "{log}");
    assert!(!log.contains("right-token") && !log.contains("wrong-token"), "{log}");
}

#[test]
fn a_long_query_and_long_headers_are_refused_before_they_are_read() {
    let server = Server::start(&["--token", "right-token"]);
    let refused = |target: &str, headers: &str, status, said: &str| {
        let mut answer = server.get_with(target, headers).unwrap();
        assert_eq!((answer.status, code(&mut answer).as_str()), (status, said));
    };
    let query = |length: usize| format!("/health?{}", "x".repeat(length));
    refused(&query(2049), "", 414, "query_too_long");
    refused(&query(60_000), "", 414, "query_too_long");
    // Within the bound it is read, and refused for what it says.
    refused(&query(2048), "", 400, "unknown_parameter");

    let headers = |length: usize| format!("X-Long: {}\r\n", "x".repeat(length));
    refused("/events", &headers(16 << 10), 431, "headers_too_large");
    let many: String = (0..90).map(|n| format!("X-{n}: {}\r\n", "y".repeat(200))).collect();
    refused("/events", &many, 431, "headers_too_large");
    assert_eq!(server.get_with("/health", &headers(15 << 10)).unwrap().status, 200);
    // What does not even fit into memory set aside for a head ends at the socket.
    let endless = server.get_with("/health", &headers(600 << 10)).map(|answer| answer.status);
    assert!(matches!(endless, Ok(431) | Err(_)), "{endless:?}");
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn one_stream_too_many_is_told_to_wait_until_another_ends() {
    let server = Server::start(&["--events-per-second", "100", "--max-streams", "3"]);
    let mut streams: Vec<_> = (0..3).map(|_| server.get("/stream?since=0")).collect();
    let mut refused = server.get("/stream?since=0");
    assert_eq!(refused.status, 503);
    assert_eq!(code(&mut refused), "too_many_streams");
    assert_eq!(refused.headers["retry-after"], "5");
    // Neither pages nor those who listen already are in its way.
    assert_eq!(server.get("/events").status, 200);
    assert_eq!(server.json("/health")["clients"], 3);
    assert!(streams.iter_mut().all(|stream| stream.events(20).len() == 20));
    // A request without a stream takes no place.
    assert_eq!(server.get("/stream?until=0").status, 204);
    assert_eq!(server.get("/stream?since=x").status, 400);

    drop(streams.pop());
    let deadline = Instant::now() + PATIENCE;
    while server.get("/stream?since=0&until=1").status != 200 {
        assert!(Instant::now() < deadline, "the place never became free");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
