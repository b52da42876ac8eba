//! The client against a scripted server: what is asked, what ends a stream, what does not.

#![allow(clippy::unwrap_used)]

mod server;

use std::time::{Duration, Instant};

use bytes::Bytes;
use server::{Act, Server, end, open_stream, response, stream, watch, watch_all};
use sse::{Client, ClientConfig, ErrorKind, Limits, Signal};

const MS: Duration = Duration::from_millis(1);

fn headers(config: ClientConfig, headers: &[(&str, &str)]) -> ClientConfig {
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ClientConfig { headers, ..config }
}

// What is asked.

#[tokio::test]
async fn a_first_request_is_a_plain_get_for_an_event_stream() {
    let server = Server::start(vec![end()]).await;
    let config = headers(server.config(), &[("X-Feed", "one"), ("x-feed", "two")]);
    assert!(watch_all(&mut Client::new(config).unwrap()).await.ended);

    let asked = &server.asked()[0];
    assert_eq!(asked.line, "GET /stream HTTP/1.1");
    assert_eq!(asked.header("accept").unwrap(), "text/event-stream");
    assert_eq!(asked.header("cache-control").unwrap(), "no-cache");
    assert_eq!(asked.header("accept-encoding").unwrap(), "identity");
    assert_eq!(asked.header("last-event-id"), None);
    assert!(asked.header("user-agent").unwrap().starts_with("sse/"));
    let feeds = asked.headers.iter().filter(|(name, _)| name == "x-feed");
    assert_eq!(feeds.count(), 2);
}

#[tokio::test]
async fn a_caller_may_replace_accept_and_user_agent() {
    let server = Server::start(vec![end()]).await;
    let mine = [("Accept", "text/event-stream, */*"), ("User-Agent", "me/1")];
    let config = headers(server.config(), &mine);
    watch_all(&mut Client::new(config).unwrap()).await;
    let asked = &server.asked()[0];
    assert_eq!(asked.header("accept").unwrap(), mine[0].1);
    assert_eq!(asked.header("user-agent").unwrap(), mine[1].1);
}

#[tokio::test]
async fn post_and_report_send_their_body_again_with_every_attempt() {
    for method in ["POST", "REPORT"] {
        let server = Server::start(vec![stream("data: a\n\n"), end()]).await;
        let config = headers(server.config(), &[("Content-Type", "text/plain")]);
        let mut client = Client::new(ClientConfig {
            method: method.to_owned(),
            body: Some(Bytes::from_static(b"what I want")),
            ..config
        })
        .unwrap();
        let seen = watch_all(&mut client).await;
        assert_eq!(seen.events, ["message[a @]"]);
        let asked = server.asked();
        assert_eq!(asked.len(), 2);
        for asked in asked {
            assert_eq!(asked.line, format!("{method} /stream HTTP/1.1"));
            assert_eq!(asked.header("content-type").unwrap(), "text/plain");
            assert_eq!(asked.body, b"what I want");
        }
    }
}

#[tokio::test]
async fn user_info_becomes_basic_credentials_and_is_shown_nowhere() {
    let server = Server::start(vec![response("403", &[], "")]).await;
    let port = server.port;
    let config = ClientConfig {
        url: format!("http://ada:s3cret@127.0.0.1:{port}/stream?token=hidden"),
        ..server.config()
    };
    assert!(!format!("{config:?}").contains("s3cret"));
    let mut client = Client::new(config).unwrap();
    let error = watch_all(&mut client).await.error.unwrap();
    let asked = &server.asked()[0];
    assert_eq!(asked.header("authorization").unwrap(), "Basic YWRhOnMzY3JldA==");
    assert_eq!(asked.line, "GET /stream?token=hidden HTTP/1.1");
    let shown = format!("{error} {error:?} {client:?}");
    assert!(shown.contains("/stream?token=*"), "{shown}");
    assert!(!shown.contains("s3cret") && !shown.contains("hidden"), "{shown}");
}

#[test]
fn a_bad_configuration_is_refused_at_once() {
    let kind = |config: ClientConfig| Client::new(config).unwrap_err().kind();
    for url in ["", "stream", "ftp://host/x", "http://", "unix:/x"] {
        assert_eq!(kind(ClientConfig::new(url)), ErrorKind::Config, "{url}");
    }
    let config = ClientConfig::new("http://localhost/");
    for header in [("a b", "x"), ("x", "a\nb"), ("Last-Event-ID", "1")] {
        assert_eq!(kind(headers(config.clone(), &[header])), ErrorKind::Config);
    }
    let method = "GE T".to_owned();
    assert_eq!(kind(ClientConfig { method, ..config.clone() }), ErrorKind::Config);
    let last_event_id = Some(b"a\nb".to_vec());
    assert_eq!(kind(ClientConfig { last_event_id, ..config }), ErrorKind::Protocol);
}

// What an answer means.

#[tokio::test]
async fn only_event_streams_are_read() {
    for bogus in ["x bogus", "text/x-bogus", "text/event-stream-x", "application/json", ""] {
        let header = format!("Content-Type: {bogus}");
        let server = Server::start(vec![response("200", &[&header], "data: a\n\n")]).await;
        let seen = watch_all(&mut server.client()).await;
        assert_eq!(seen.error.unwrap().kind(), ErrorKind::Rejected, "{bogus}");
        assert!(seen.events.is_empty() && seen.connected.is_empty());
        assert_eq!(server.asked().len(), 1);
    }
    for good in ["text/event-stream;", "Text/Event-Stream ; charset=windows-1252"] {
        let header = format!("Content-Type: {good}");
        let body = "data:ok\u{2026}\n\n\n";
        let server = Server::start(vec![response("200", &[&header], body), end()]).await;
        let seen = watch_all(&mut server.client()).await;
        assert_eq!(seen.events, ["message[ok\u{2026} @]"], "{good}");
    }
}

#[tokio::test]
async fn a_compressed_stream_is_refused() {
    let headers = ["Content-Type: text/event-stream", "Content-Encoding: gzip"];
    let server = Server::start(vec![response("200", &headers, "?")]).await;
    let error = watch_all(&mut server.client()).await.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.to_string().contains("compress"), "{error}");
}

#[tokio::test]
async fn no_content_ends_the_stream_with_exactly_one_request() {
    let server = Server::start(vec![end()]).await;
    let mut client = server.client();
    for _ in 0..3 {
        assert!(matches!(client.advance().await, Ok(Signal::End)));
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_final_status_is_an_error_that_stays() {
    for status in [205, 210, 299, 304, 400, 401, 403, 404, 408, 409, 410] {
        let server = Server::start(vec![response(&status.to_string(), &[], "")]).await;
        let mut client = server.client();
        let error = watch_all(&mut client).await.error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Status(status));
        assert!(!error.is_transient());
        let text = error.to_string();
        assert!(text.contains(&server.url()) && text.contains(&status.to_string()));
        assert_eq!(client.advance().await.unwrap_err().to_string(), text);
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn server_errors_are_retried_but_final_in_strict_mode() {
    for status in [429, 500, 502, 503, 504] {
        let scripts =
            vec![response(&status.to_string(), &[], "busy"), stream("data: a\n\n"), end()];
        let server = Server::start(scripts.clone()).await;
        let seen = watch_all(&mut server.client()).await;
        assert_eq!(seen.events, ["message[a @]"]);
        assert_eq!(seen.disconnected[0].kind, ErrorKind::Status(status));
        assert_eq!(seen.connected[0].attempt, 2);

        let server = Server::start(scripts).await;
        let config = ClientConfig { strict: true, ..server.config() };
        let error = watch_all(&mut Client::new(config).unwrap()).await.error;
        assert_eq!(error.unwrap().kind(), ErrorKind::Status(status));
    }
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let soon = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(100));
    for (header, least) in [("1".to_owned(), 1.0), (soon, 97.0)] {
        let header = format!("Retry-After: {header}");
        let server = Server::start(vec![response("503", &[&header], ""), end()]).await;
        let mut client = server.client();
        let started = Instant::now();
        let seen = watch(&mut client, |seen| !seen.disconnected.is_empty()).await;
        let wait = seen.disconnected[0].retry_in.as_secs_f64();
        assert!((least..=least + 4.0).contains(&wait), "{header}: {wait}");
        if least < 2.0 {
            assert!(watch_all(&mut client).await.ended);
            assert!(started.elapsed() >= Duration::from_secs(1));
        }
    }
}

#[tokio::test]
async fn a_response_header_can_be_read_before_the_stream() {
    let headers = ["Content-Type: text/event-stream", "X-Epoch: e1"];
    let server = Server::start(vec![response("200", &headers, "data: a\n\n")]).await;
    let mut client = server.client();
    let Signal::Connected(connected) = client.advance().await.unwrap() else {
        panic!("not connected");
    };
    assert_eq!(connected.header("x-epoch"), Some("e1"));
    assert_eq!((connected.status, connected.attempt), (200, 1));
    assert_eq!(connected.url, server.url());
    assert!(client.next_item().is_none());
}

// Redirects.

#[tokio::test]
async fn redirects_lead_to_the_stream() {
    for status in ["301", "302", "303", "307", "308"] {
        let scripts = vec![
            response(status, &["Location: ../other?x=1#top"], ""),
            open_stream("id: 7\ndata: a\n\n"),
        ];
        let server = Server::start(scripts).await;
        let config = headers(server.config(), &[("Authorization", "Bearer t")]);
        let mut client = Client::new(config).unwrap();
        let seen = watch(&mut client, |seen| !seen.events.is_empty()).await;
        assert_eq!(seen.events, ["message[a @7]"]);
        assert!(seen.connected[0].url.ends_with("/other?x=*"));
        let asked = &server.asked()[1];
        assert_eq!(asked.line, "GET /other?x=1 HTTP/1.1");
        assert_eq!(asked.header("cache-control").unwrap(), "no-cache");
        assert_eq!(asked.header("authorization").unwrap(), "Bearer t");
    }
}

#[tokio::test]
async fn a_redirect_changes_a_post_only_where_http_says_so() {
    for (status, line, body) in [
        ("302", "GET /b HTTP/1.1", ""),
        ("303", "GET /b HTTP/1.1", ""),
        ("307", "POST /b HTTP/1.1", "x"),
        ("308", "POST /b HTTP/1.1", "x"),
    ] {
        let server = Server::start(vec![response(status, &["Location: /b"], ""), end()]).await;
        let mut client = Client::new(ClientConfig {
            method: "POST".to_owned(),
            body: Some(Bytes::from_static(b"x")),
            ..server.config()
        })
        .unwrap();
        assert!(watch_all(&mut client).await.ended);
        let asked = &server.asked()[1];
        assert_eq!((asked.line.as_str(), asked.body.as_slice()), (line, body.as_bytes()));
    }
}

#[tokio::test]
async fn credentials_stay_on_their_own_host() {
    let there = Server::start(vec![open_stream("data: a\n\n")]).await;
    let location = format!("Location: http://eve:x@127.0.0.1:{}/b", there.port);
    let here = Server::start(vec![response("307", &[&location], "")]).await;
    let secrets = [
        ("Cookie", "a=b"),
        ("Proxy-Authorization", "Basic x"),
        ("X-Api-Key", "k"),
        ("X-Feed", "any name may hide a secret"),
        ("User-Agent", "ua"),
    ];
    let config = ClientConfig {
        url: format!("http://ada:pw@127.0.0.1:{}/a?token=t", here.port),
        last_event_id: Some(b"5".to_vec()),
        ..headers(here.config(), &secrets)
    };
    let mut client = Client::new(config).unwrap();
    let seen = watch(&mut client, |seen| !seen.events.is_empty()).await;
    assert_eq!(seen.events, ["message[a @5]"]);

    let first = &here.asked()[0];
    let second = &there.asked()[0];
    for gone in ["authorization", "cookie", "proxy-authorization", "x-api-key", "x-feed"] {
        assert!(first.header(gone).is_some(), "{gone}");
        assert_eq!(second.header(gone), None, "{gone}");
    }
    assert_eq!(second.line, "GET /b HTTP/1.1");
    assert_eq!(second.header("user-agent").unwrap(), "ua");
    assert_eq!(second.header("last-event-id").unwrap(), "5");
    assert_eq!(second.header("accept").unwrap(), "text/event-stream");
}

#[tokio::test]
async fn redirects_to_nowhere_are_errors() {
    for location in ["", "Location:", "Location: ftp://h/", "Location: http://[", "Location: a:b"] {
        for status in ["301", "307"] {
            let server = Server::start(vec![response(status, &[location], "")]).await;
            let error = watch_all(&mut server.client()).await.error.unwrap();
            assert_eq!(error.kind(), ErrorKind::Rejected, "{location}");
            assert_eq!(server.asked().len(), 1);
        }
    }
    let server = Server::start(vec![response("302", &["Location: /again"], "")]).await;
    let error = watch_all(&mut server.client()).await.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(server.asked().len(), 11);
}

// Reconnecting.

#[tokio::test]
async fn retry_counts_even_without_an_event() {
    let server = Server::start(vec![stream("retry: 30\n"), stream("data: data\n\n"), end()]).await;
    let seen = watch_all(&mut server.client()).await;
    assert_eq!(seen.events, ["message[data @]"]);
    let waits: Vec<_> = seen.disconnected.iter().map(|gone| gone.retry_in).collect();
    assert_eq!(waits, [30 * MS, 30 * MS]);
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_until_the_server_says_stop() {
    let server = Server::start(vec![
        stream("retry: 2\ndata: opened\n\n"),
        stream("data: reconnected\n\n"),
        end(),
    ])
    .await;
    let seen = watch_all(&mut server.client()).await;
    assert_eq!(seen.events, ["message[opened @]", "message[reconnected @]"]);
    assert_eq!((seen.connected.len(), seen.disconnected.len()), (2, 2));
    assert!(seen.ended);
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn the_last_id_is_sent_as_its_bytes_and_kept_by_events_without_one() {
    let server = Server::start(vec![
        stream("id: \u{2026}\ndata: hello\n\n"),
        stream("data: more\n\n"),
        stream("id:\ndata: reset\n\n"),
        end(),
    ])
    .await;
    let seen = watch_all(&mut server.client()).await;
    let events = ["message[hello @\u{2026}]", "message[more @\u{2026}]", "message[reset @]"];
    assert_eq!(seen.events, events);
    let ids: Vec<_> = server
        .asked()
        .iter()
        .map(|asked| asked.bytes("last-event-id").map(<[u8]>::to_vec))
        .collect();
    let dots = Some("\u{2026}".as_bytes().to_vec());
    assert_eq!(ids, [None, dots.clone(), dots, None]);
}

#[tokio::test]
async fn an_id_with_nul_is_no_id() {
    for id in ["\0\0", "x\0", "\0x", "x\0x", " \0"] {
        let body = format!("id: {id}\nretry: 3\ndata: hello\n\n");
        let server = Server::start(vec![stream(&body), stream(&body), end()]).await;
        let seen = watch_all(&mut server.client()).await;
        assert_eq!(seen.events, ["message[hello @]", "message[hello @]"]);
        assert!(server.asked().iter().all(|asked| asked.header("last-event-id").is_none()));
    }
}

#[tokio::test]
async fn the_first_connection_may_start_at_an_id() {
    let server = Server::start(vec![stream("data: a\n\n"), end()]).await;
    let config = ClientConfig { last_event_id: Some(b"41".to_vec()), ..server.config() };
    let seen = watch_all(&mut Client::new(config).unwrap()).await;
    assert_eq!(seen.events, ["message[a @41]"]);
    for asked in server.asked() {
        assert_eq!(asked.header("last-event-id").unwrap(), "41");
    }
}

#[tokio::test]
async fn an_unfinished_block_is_dropped_with_its_id() {
    let cut = "id: abc\ndata: Hello\n\nid: def\ndata: Goodbye";
    let server = Server::start(vec![stream(cut), stream("data: again\n\n"), end()]).await;
    let seen = watch_all(&mut server.client()).await;
    assert_eq!(seen.events, ["message[Hello @abc]", "message[again @abc]"]);
    assert_eq!(server.asked()[1].header("last-event-id").unwrap(), "abc");

    let body = "retry:3\ndata:test1\n\nid:test\ndata:test2\n";
    let server = Server::start(vec![stream(body), stream(body), end()]).await;
    let seen = watch_all(&mut server.client()).await;
    assert_eq!(seen.events, ["message[test1 @]", "message[test1 @]"]);
}

#[tokio::test]
async fn an_id_that_http_cannot_carry_stops_the_client_instead_of_losing_the_position() {
    let server = Server::start(vec![stream("id: a\x01b\ndata: a\n\n")]).await;
    let error = watch_all(&mut server.client()).await.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_reset_or_a_cut_chunked_body_is_retried() {
    let mut reset = stream("id: 1\ndata: a\n\n");
    reset.extend([Act::Pause(20 * MS), Act::Reset]);
    let headers = ["Content-Type: text/event-stream", "Transfer-Encoding: chunked"];
    let cut = response("200", &headers, "10\r\nid: 2\ndata: b\n\n\n\r\n5\r\nid");
    let server = Server::start(vec![reset, cut, end()]).await;
    let seen = watch_all(&mut server.client()).await;
    assert_eq!(seen.events, ["message[a @1]", "message[b @2]"]);
    assert!(seen.disconnected.iter().all(|gone| gone.kind == ErrorKind::Network));
    assert_eq!(server.asked()[2].header("last-event-id").unwrap(), "2");
}

#[tokio::test]
async fn silence_is_a_dead_connection_and_heartbeats_are_not_silence() {
    let beat = |text: &str| [Act::Pause(120 * MS), Act::Send(text.into())];
    let mut beating = stream(": first\n");
    for _ in 0..4 {
        beating.extend(beat(":\n"));
    }
    beating.extend(beat("data: a\n\n"));
    beating.push(Act::Hold);
    let server = Server::start(vec![beating, open_stream("data: b\n\n")]).await;
    let config = ClientConfig { read_timeout: 400 * MS, ..server.config() };
    let mut client = Client::new(config).unwrap();
    let seen = watch(&mut client, |seen| seen.events.len() == 2).await;
    assert_eq!(seen.events, ["message[a @]", "message[b @]"]);
    assert_eq!(seen.comments.len(), 5);
    assert_eq!(seen.disconnected.len(), 1);
    assert!(seen.disconnected[0].reason.contains("no byte for 0.4 s"));
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up() {
    let server = Server::start(vec![vec![Act::Hold], end()]).await;
    let config =
        ClientConfig { read_timeout: 100 * MS, connect_timeout: 100 * MS, ..server.config() };
    let seen = watch_all(&mut Client::new(config).unwrap()).await;
    assert!(seen.ended);
    assert!(seen.disconnected[0].reason.contains("no answer for 0.2 s"));
}

#[test]
fn a_slow_caller_is_not_taken_for_a_dead_server() {
    // The server has a thread of its own: the caller blocks the client's one.
    let elsewhere = tokio::runtime::Runtime::new().unwrap();
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut acts = stream("data: a\n\n");
    acts.extend([Act::Pause(30 * MS), Act::Send(b"data: b\n\n".to_vec()), Act::Hold]);
    let server = elsewhere.block_on(Server::start(vec![acts]));
    let config = ClientConfig { read_timeout: 100 * MS, ..server.config() };
    let mut client = Client::new(config).unwrap();
    here.block_on(watch(&mut client, |seen| seen.events.len() == 1));
    std::thread::sleep(250 * MS);
    let seen = here.block_on(watch(&mut client, |seen| seen.events.len() == 1));
    assert_eq!(seen.events, ["message[b @]"]);
    assert!(seen.disconnected.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn attempts_run_out_with_the_last_cause() {
    let gone = Server::start(vec![end()]).await.config();
    tokio::task::yield_now().await;
    let config = ClientConfig { max_attempts: Some(3), ..gone };
    let seen = watch_all(&mut Client::new(config.clone()).unwrap()).await;
    assert_eq!(seen.disconnected.len(), 2);
    let error = seen.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.is_transient());
    let text = error.to_string();
    assert!(text.contains("connection refused") && text.contains("3 failed attempts"), "{text}");

    let server = Server::start(vec![response("503", &[], "")]).await;
    let config = ClientConfig { max_attempts: Some(2), ..server.config() };
    let error = watch_all(&mut Client::new(config).unwrap()).await.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Status(503));
    assert!(error.is_transient());
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn empty_streams_back_off_and_a_byte_starts_the_count_again() {
    let mut scripts = vec![stream(""); 4];
    scripts.extend([stream(":\n"), stream(""), stream(""), end()]);
    let server = Server::start(scripts).await;
    let seen = watch_all(&mut server.client()).await;
    let waits: Vec<_> = seen.disconnected.iter().map(|gone| gone.retry_in.as_millis()).collect();
    assert_eq!(waits, [4, 8, 16, 32, 4, 4, 8]);
    let attempts: Vec<_> = seen.connected.iter().map(|open| open.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 1, 2]);
}

// What the caller does.

#[tokio::test]
async fn dropping_a_step_loses_nothing() {
    let mut acts = vec![Act::Pause(15 * MS)];
    acts.extend(stream(""));
    let mut next = 0..40;
    for number in next.by_ref().take(20) {
        let block = format!("id: {number}\ndata: {number}\n\n");
        let (a, b) = block.split_at(block.len() / 2);
        acts.extend([Act::Pause(3 * MS), Act::Send(a.into())]);
        acts.extend([Act::Pause(2 * MS), Act::Send(b.into())]);
    }
    let rest: String = next.map(|n| format!("id: {n}\ndata: {n}\n\n")).collect();
    let server = Server::start(vec![acts, stream(rest), end()]).await;
    let mut client = server.client();
    let mut seen = server::Seen::default();
    let started = Instant::now();
    let mut dropped = 0;
    while !seen.ended {
        assert!(started.elapsed() < Duration::from_secs(20), "{seen:?}");
        tokio::select! {
            biased;
            () = tokio::time::sleep(MS) => dropped += 1,
            signal = client.advance() => seen.signal(signal),
        }
        while let Some(item) = client.next_item() {
            seen.take(item);
        }
    }
    let all: Vec<String> = (0..40).map(|n| format!("message[{n} @{n}]")).collect();
    assert_eq!(seen.events, all);
    assert_eq!(server.asked().len(), 3);
    assert!(dropped > 20, "{dropped}");
}

#[tokio::test]
async fn a_restart_drops_the_response_unread() {
    let server = Server::start(vec![
        open_stream("id: 1\ndata: old\n\nid: 2\ndata: cut"),
        open_stream("data: new\n\n"),
        open_stream("data: first\n\n"),
    ])
    .await;
    let mut client = server.client();
    assert!(matches!(client.advance().await, Ok(Signal::Connected(_))));
    client.restart(Some(b"77"));
    let seen = watch(&mut client, |seen| seen.events.len() == 1).await;
    assert_eq!(seen.events, ["message[new @77]"]);
    assert_eq!(client.last_event_id(), b"77");

    client.restart(None);
    let seen = watch(&mut client, |seen| seen.events.len() == 1).await;
    assert_eq!(seen.events, ["message[first @]"]);
    let asked = server.asked();
    assert_eq!(asked[1].header("last-event-id").unwrap(), "77");
    assert_eq!(asked[2].header("last-event-id"), None);
}

#[tokio::test]
async fn a_restart_revives_a_client_that_had_stopped() {
    let scripts = vec![response("410", &[], ""), stream("data: a\n\n"), end()];
    let server = Server::start(scripts).await;
    let mut client = server.client();
    assert!(watch_all(&mut client).await.error.is_some());
    client.restart(None);
    assert_eq!(watch_all(&mut client).await.events, ["message[a @]"]);
}

#[tokio::test]
async fn an_oversized_event_does_not_end_the_stream() {
    let body = format!("id: 1\ndata: {}\n\nid: 2\ndata: b\n\n", "x".repeat(2000));
    let server = Server::start(vec![stream(body), end()]).await;
    let config = ClientConfig {
        limits: Limits { max_line_bytes: 100, max_event_bytes: 100 },
        ..server.config()
    };
    let seen = watch_all(&mut Client::new(config).unwrap()).await;
    assert_eq!(seen.events, ["message[b @2]"]);
}

#[test]
fn a_client_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let mut client = Client::new(ClientConfig::new("http://localhost/")).unwrap();
    is_send(&client.advance());
    is_send(&client);
}
