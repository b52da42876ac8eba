//! How a stream is reached where more is needed than an address: where to go on in the query,
//! credentials that expire, cookies, proxies, compression.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)] // client.rs uses the rest of it
mod server;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use server::{Act, Server, end, response, stream, watch, watch_all};
use sse::{Authorization, Client, ClientConfig, Credentials, Error, ErrorKind, Proxy, Resume};

const BLOCK: &str = "id: a b&c\ndata: 1\n\n";

fn query(name: &str) -> Resume {
    Resume::Query(name.into())
}

#[tokio::test]
async fn a_query_parameter_says_where_to_go_on() {
    let server = Server::start(vec![stream(BLOCK), stream("data: 2\n\n"), end()]).await;
    let url = format!("{}?since=10m&poll=1", server.url());
    let config = ClientConfig { url, resume: query("since"), ..server.config() };
    watch_all(&mut Client::new(config).unwrap()).await;
    let lines: Vec<String> = server.asked().iter().map(|asked| asked.line.clone()).collect();
    assert_eq!(
        lines,
        [
            "GET /stream?since=10m&poll=1 HTTP/1.1",
            "GET /stream?poll=1&since=a+b%26c HTTP/1.1",
            "GET /stream?poll=1&since=a+b%26c HTTP/1.1",
        ]
    );
    assert!(server.asked().iter().all(|asked| asked.header("last-event-id").is_none()));
}

#[tokio::test]
async fn a_start_is_asked_for_until_there_is_an_id() {
    let server = Server::start(vec![stream(":\n\n"), stream("id: 7\ndata: 1\n\n"), end()]).await;
    let start = Some(("since".into(), "2026-11-20T12:00:00Z".into()));
    let config = ClientConfig { start, ..server.config() };
    watch_all(&mut Client::new(config).unwrap()).await;
    let asked = server.asked();
    assert_eq!(asked[0].line, "GET /stream?since=2026-11-20T12%3A00%3A00Z HTTP/1.1");
    assert_eq!(asked[1].line, asked[0].line);
    assert_eq!(asked[2].line, "GET /stream HTTP/1.1");
    assert_eq!(asked[2].header("last-event-id").unwrap(), "7");
}

#[tokio::test]
async fn a_caller_may_know_better_where_to_go_on_or_say_nothing() {
    let server = Server::start(vec![stream(BLOCK), stream(BLOCK), end()]).await;
    let mut client = server.client();
    watch(&mut client, |seen| seen.disconnected.len() == 1).await;
    client.resume_after(b"mine");
    watch_all(&mut client).await;
    let ids: Vec<_> = server.asked().iter().map(|asked| asked.header("last-event-id")).collect();
    assert_eq!(ids, [None, Some("mine".into()), Some("mine".into())]);

    let server = Server::start(vec![stream(BLOCK), end()]).await;
    let config = ClientConfig { resume: Resume::Never, ..server.config() };
    watch_all(&mut Client::new(config).unwrap()).await;
    assert!(server.asked().iter().all(|asked| asked.header("last-event-id").is_none()));
}

/// Tokens one after the other, or what is wrong.
struct Tokens(AtomicU32, Option<Error>);

impl Credentials for Tokens {
    fn authorization(&self, renew: bool) -> Authorization {
        let error = self.1.clone();
        let number = if renew {
            self.0.fetch_add(1, Ordering::SeqCst) + 1
        } else {
            self.0.load(Ordering::SeqCst)
        };
        Box::pin(async move { error.map_or(Ok(format!("Bearer t{number}")), Err) })
    }
}

fn with_tokens(config: ClientConfig, error: Option<Error>) -> ClientConfig {
    ClientConfig { credentials: Some(Arc::new(Tokens(AtomicU32::new(0), error))), ..config }
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let no = || response("401", &[], "");
    let server =
        Server::start(vec![stream("data: 1\n\n"), no(), stream("data: 2\n\n"), no(), no()]).await;
    let mut client = Client::new(with_tokens(server.config(), None)).unwrap();
    let seen = watch_all(&mut client).await;
    assert_eq!(seen.events.len(), 2);
    assert_eq!(seen.error.unwrap().kind(), ErrorKind::Status(401));
    let tokens: Vec<String> =
        server.asked().iter().map(|asked| asked.header("authorization").unwrap()).collect();
    assert_eq!(tokens, ["Bearer t0", "Bearer t0", "Bearer t1", "Bearer t1", "Bearer t2"]);
    // The second failure came at once: no back-off between a refusal and the renewed token.
    assert_eq!(seen.disconnected.len(), 2);
}

#[tokio::test]
async fn tokens_stay_with_the_origin_and_their_absence_ends_the_client() {
    let other = Server::start(vec![end()]).await;
    let away = response("307", &[&format!("Location: {}", other.url())], "");
    let server = Server::start(vec![away]).await;
    watch_all(&mut Client::new(with_tokens(server.config(), None)).unwrap()).await;
    assert_eq!(server.asked()[0].header("authorization").unwrap(), "Bearer t0");
    assert_eq!(other.asked()[0].header("authorization"), None);

    let server = Server::start(vec![end()]).await;
    let refused = Error::refused("no token today");
    let mut client = Client::new(with_tokens(server.config(), Some(refused))).unwrap();
    let error = watch_all(&mut client).await.error.unwrap();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Rejected, "no token today"));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn cookies_are_kept_within_a_run_for_the_origin_alone() {
    let other = Server::start(vec![end()]).await;
    let away = format!("Location: {}", other.url());
    let kind = "Content-Type: text/event-stream";
    let set = ["Set-Cookie: lb=node-3; Path=/; HttpOnly", "Set-Cookie: s=1; Secure", kind];
    let server = Server::start(vec![
        response("200", &set, "data: 1\n\n"),
        response("307", &[&away, "Set-Cookie: lb=node-4"], ""),
    ])
    .await;
    watch_all(&mut server.client()).await;
    let cookies: Vec<_> = server.asked().iter().map(|asked| asked.header("cookie")).collect();
    assert_eq!(cookies, [None, Some("lb=node-3".into())]);
    assert_eq!(other.asked()[0].header("cookie"), None);
}

#[tokio::test]
async fn a_proxy_is_used_only_where_it_is_named() {
    let proxy = Server::start(vec![end()]).await;
    let address = format!("http://user:secret@127.0.0.1:{}", proxy.port);
    let config =
        ClientConfig { proxy: Proxy::Url(address), ..ClientConfig::new("http://feed.test/stream") };
    assert!(watch_all(&mut Client::new(config).unwrap()).await.ended);
    let asked = &proxy.asked()[0];
    assert_eq!(asked.line, "GET http://feed.test/stream HTTP/1.1");
    assert_eq!(asked.header("proxy-authorization").unwrap(), "Basic dXNlcjpzZWNyZXQ=");

    let wrong = ClientConfig {
        proxy: Proxy::Url("http://user:secret@ no host".into()),
        ..ClientConfig::new("http://feed.test/stream")
    };
    let error = Client::new(wrong).unwrap_err().to_string();
    assert!(error.contains("proxy") && !error.contains("secret"), "{error}");
}

/// A block, compressed and flushed but not ended.
fn compressed(encoding: &str, block: &[u8]) -> Vec<u8> {
    match encoding {
        "gzip" => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(block).unwrap();
            encoder.flush().unwrap();
            encoder.get_ref().clone()
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
            encoder.write_all(block).unwrap();
            encoder.flush().unwrap();
            encoder.get_ref().clone()
        }
        _ => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.write_all(block).unwrap();
            encoder.flush().unwrap();
            encoder.get_ref().clone()
        }
    }
}

#[tokio::test]
async fn what_is_flushed_comes_at_once_in_every_encoding() {
    for encoding in ["gzip", "br", "zstd"] {
        let header = format!("Content-Encoding: {encoding}");
        let head = ["Content-Type: text/event-stream", header.as_str()];
        let mut acts = response("200", &head, compressed(encoding, b"id: 1\ndata: first\n\n"));
        acts.push(Act::Hold);
        let server = Server::start(vec![acts]).await;
        let config = ClientConfig { compression: true, ..server.config() };
        let mut client = Client::new(config).unwrap();
        let watched = watch(&mut client, |seen| seen.events.len() == 1);
        let seen = tokio::time::timeout(Duration::from_secs(2), watched).await;
        assert_eq!(seen.unwrap().events, ["message[first @1]"], "{encoding}");
        assert_eq!(server.asked()[0].header("accept-encoding").unwrap(), "gzip, br, zstd");
    }
}

#[tokio::test]
async fn compression_is_refused_where_it_was_not_asked_for() {
    let head = ["Content-Type: text/event-stream", "Content-Encoding: gzip"];
    let body = compressed("gzip", b"data: 1\n\n");
    let server = Server::start(vec![response("200", &head, body)]).await;
    let error = watch_all(&mut server.client()).await.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.to_string().contains("\"gzip\""), "{error}");
}

#[tokio::test]
async fn a_bomb_fills_no_memory() {
    // 64 MiB of one line in 64 KiB: the parser cuts it, and what was read is dropped.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"data: ").unwrap();
    for _ in 0..64 {
        encoder.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    encoder.write_all(b"\n\ndata: after\n\n").unwrap();
    let head = ["Content-Type: text/event-stream", "Content-Encoding: gzip"];
    let server =
        Server::start(vec![response("200", &head, encoder.finish().unwrap()), end()]).await;
    let config = ClientConfig { compression: true, ..server.config() };
    let mut client = Client::new(config).unwrap();
    let mut largest = 0;
    while let Ok(signal) = client.advance().await {
        match signal {
            sse::Signal::Bytes(bytes) => largest = largest.max(bytes),
            sse::Signal::End => break,
            _ => {}
        }
        while client.next_item().is_some() {}
    }
    assert!((1..1 << 20).contains(&largest), "{largest}");
}
