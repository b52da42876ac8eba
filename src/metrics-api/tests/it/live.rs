//! The live stream: whole state, what changes, coming back, and clients that cannot keep up.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite;

use crate::database::Db;
use crate::server::{Message, PATIENCE, Server, Sse};

#[tokio::test]
async fn first_the_whole_state_then_what_is_committed_within_a_second() {
    let db = Db::new().await;
    db.sell(200, 50).await;
    let server = Server::ready(&db, &[]).await;
    let mut live = Sse::open(&server, "?minutes=30&location=LOC-ON-001", None).await;
    let hello = live.next().await.unwrap();
    assert_eq!(hello.kind, "hello");
    assert_eq!(hello.data["filters"]["location"], serde_json::json!(["LOC-ON-001"]));
    let mut missing = vec!["kpis", "series", "top", "orders", "pipeline", "beat"];
    while !missing.is_empty() {
        let message = live.next().await.unwrap();
        missing.retain(|kind| *kind != message.kind);
    }
    // Who comes later gets the same at once, with ids in order.
    let mut second = Sse::open(&server, "?minutes=30&location=LOC-ON-001", None).await;
    let mut numbers = Vec::new();
    for kind in ["hello", "", "", "", "", ""] {
        let message = second.next().await.unwrap();
        assert!(kind.is_empty() || message.kind == kind);
        numbers.push(message.number());
    }
    assert!(numbers.is_sorted(), "{numbers:?}");
    let shown = server.json("/orders/live?minutes=30&location=LOC-ON-001&limit=50").await;
    let before = live.of("kpis").await;

    // Figures have just been computed: without word of the commit that is done again in a second.
    let begun = Instant::now();
    let id = db.order("LOC-ON-001", "12.34").await;
    let orders = live.until(|message| message.has_order(&id)).await;
    assert!(begun.elapsed() < Duration::from_millis(800), "{:?}", begun.elapsed());
    // Only what is new, though the list is longer.
    assert_eq!(orders.data["rows"].as_array().unwrap().len(), 1);
    assert!(shown["rows"].as_array().unwrap().len() > 1);
    assert_eq!(orders.data["rows"][0]["total"], "12.34");
    let count = |kpis: &Message| kpis.data["current"]["orders"].as_i64().unwrap();
    live.until(|it| it.kind == "kpis" && count(it) == count(&before) + 1).await;

    // Not of this room's filter.
    let other = db.order("LOC-ON-002", "1.00").await;
    let mine = db.order("LOC-ON-001", "2.00").await;
    live.until(|message| {
        assert!(!message.has_order(&other));
        message.has_order(&mine)
    })
    .await;

    // Once more when its payment comes.
    let unpaid = db.order("LOC-ON-001", "null").await;
    let orders = live.until(|message| message.has_order(&unpaid)).await;
    assert_eq!(orders.data["rows"][0]["total"], Value::Null);
    db.run(&format!("update analytics.orders set total = 9.50 where order_id = '{unpaid}'")).await;
    let orders = live.until(|message| message.has_order(&unpaid)).await;
    assert_eq!(orders.data["rows"][0]["total"], "9.50");
}

#[tokio::test]
async fn a_commit_nobody_told_of_is_seen_within_two_seconds() {
    let db = Db::new().await;
    let server = Server::ready(&db, &[]).await;
    let mut live = Sse::open(&server, "", None).await;
    live.of("orders").await;
    let begun = Instant::now();
    let id = db.quiet_order("LOC-ON-001", "1.00", false).await;
    live.until(|message| message.has_order(&id)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_or_the_whole_state() {
    let db = Db::new().await;
    let server = Server::ready(&db, &[]).await;
    let mut live = Sse::open(&server, "", None).await;
    let first = db.order("LOC-ON-001", "1.00").await;
    let last = live.until(|message| message.has_order(&first)).await;
    drop(live);
    let mut stays = Sse::open(&server, "", None).await;
    let missed = db.order("LOC-ON-002", "2.00").await;
    stays.until(|message| message.has_order(&missed)).await;

    for by_query in [false, true] {
        let query = if by_query { format!("?after={}", last.id) } else { String::new() };
        let mut back = Sse::open(&server, &query, (!by_query).then_some(last.id.as_str())).await;
        assert_eq!(back.next().await.unwrap().kind, "hello");
        let mut number = last.number();
        loop {
            let message = back.next().await.unwrap();
            assert!(message.number() > number, "{} behind {number}", message.number());
            number = message.number();
            assert!(!message.has_order(&first), "what was received comes again");
            if message.has_order(&missed) {
                break;
            }
        }
    }
    // Ids of another process, of the future, and nonsense: the whole state.
    let (boot, _) = last.id.rsplit_once('-').unwrap();
    for strange in ["0-5", &format!("{boot}-999999"), &format!("{boot}-0"), "x", "--"] {
        let mut back = Sse::open(&server, "", Some(strange)).await;
        let orders = back.of("orders").await;
        assert!(orders.has_order(&first) && orders.has_order(&missed), "{strange}");
    }
    let (_, text) = server.get("/prometheus").await;
    assert!(text.as_str().unwrap().contains("metrics_api_live_resumed_total 2"));
}

#[tokio::test]
async fn a_web_socket_says_the_same() {
    let db = Db::new().await;
    let server = Server::ready(&db, &[]).await;
    let url = format!("ws://{}/live?minutes=5", server.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    let mut id = None;
    let mut kinds = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{kinds:?}");
        let frame = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
        let Some(Ok(tungstenite::Message::Text(text))) = frame else { panic!("{frame:?}") };
        let message = Message::new(&text);
        if message.kind == "beat" && id.is_none() {
            id = Some(db.order("LOC-ON-001", "3.00").await);
        }
        if id.as_ref().is_some_and(|id| message.has_order(id)) {
            break;
        }
        kinds.push(message.kind);
    }
    assert_eq!(kinds[0], "hello");
    assert!(kinds.iter().any(|kind| kind == "kpis"));
    // What a client says is not listened to, but a ping is answered.
    socket.send(tungstenite::Message::Text("{}".into())).await.unwrap();
    socket.send(tungstenite::Message::Ping(vec![7].into())).await.unwrap();
    loop {
        assert!(Instant::now() < deadline, "the ping stayed without an answer");
        let frame = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        if let tungstenite::Message::Pong(bytes) = frame {
            assert_eq!(&bytes[..], [7]);
            break;
        }
    }

    let mut request = tungstenite::client::IntoClientRequest::into_client_request(&url).unwrap();
    request.headers_mut().insert("origin", "http://elsewhere".parse().unwrap());
    let refused = tokio_tungstenite::connect_async(request).await.unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused}");
}

#[tokio::test]
async fn as_many_listen_as_may() {
    let db = Db::new().await;
    let server = Server::ready(&db, &["--max-clients", "3", "--max-filters", "2"]).await;
    let _one = Sse::open(&server, "", None).await;
    let _two = Sse::open(&server, "?minutes=5", None).await;
    let (status, body) = server.get("/live?minutes=6").await;
    assert_eq!((status, &body["error"]["code"]), (503, &Value::from("too_many_filters")));
    let three = Sse::open(&server, "", None).await;
    let (status, body) = server.get("/live").await;
    assert_eq!((status, &body["error"]["code"]), (503, &Value::from("too_many_clients")));
    drop(three);
    let deadline = Instant::now() + PATIENCE;
    while !has(&server, "metrics_api_live_clients 2").await {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _three = Sse::open(&server, "", None).await;
}

async fn has(server: &Server, line: &str) -> bool {
    server.get("/prometheus").await.1.as_str().unwrap().contains(line)
}

/// A client with a small buffer that has read the head of the answer and nothing more.
fn sleeper(server: &Server, query: &str) -> std::net::TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address: std::net::SocketAddr = server.address.parse().unwrap();
    socket.connect(&address.into()).unwrap();
    let mut socket: std::net::TcpStream = socket.into();
    write!(socket, "GET /live{query} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    socket.read_exact(&mut [0; 15]).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off_and_the_others_go_on() {
    let db = Db::new().await;
    let server = Server::ready(&db, &["--patience", "1"]).await;
    // The course of a day is more than the buffers between us hold.
    let mut live = Sse::open(&server, "?minutes=1440", None).await;
    live.of("series").await;
    let mut asleep = sleeper(&server, "?minutes=1440");
    let deadline = Instant::now() + PATIENCE;
    while !has(&server, "metrics_api_live_clients 1").await {
        assert!(Instant::now() < deadline, "the sleeper is still there");
        let since = Instant::now();
        live.of("beat").await;
        assert!(since.elapsed() < Duration::from_secs(3));
    }
    let mut rest = Vec::new();
    let end = asleep.read_to_end(&mut rest);
    assert!(end.is_err() || !rest.ends_with(b"0\r\n\r\n"), "cut off, not ended");
    assert!(has(&server, "metrics_api_cut_off_total 1").await, "it is counted, once");
}

#[tokio::test]
async fn rankings_that_take_too_long_do_not_hold_up_the_other_figures() {
    let db = Db::new().await;
    let server = Server::ready(&db, &[]).await;
    let other = db.another().await;
    other.run("begin; lock table analytics.items_by_hour_parts in access exclusive mode").await;
    let mut live = Sse::open(&server, "", None).await;
    for total in ["11.00", "12.00", "13.00"] {
        db.order("LOC-ON-001", total).await;
        live.of("kpis").await;
    }
}

#[tokio::test]
async fn a_server_that_ends_says_so() {
    let db = Db::new().await;
    let server = Server::ready(&db, &[]).await;
    let mut live = Sse::open(&server, "", None).await;
    live.of("kpis").await;
    let ended = tokio::task::spawn_blocking(move || server.terminate());
    let bye = live.of("bye").await;
    assert_eq!(bye.data["reason"], "closing");
    assert!(live.next().await.is_none());
    let (took, success) = ended.await.unwrap();
    assert!(success && took < Duration::from_secs(3), "{took:?}");
}
