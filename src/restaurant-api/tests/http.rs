//! What clients rely on, asked of the real server over real sockets.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::{Block, Server, ids};

/// Lively, and with all four types within a second.
const BUSY: &[&str] = &["--events-per-second", "500", "--feedback-delay", "50ms..300ms"];

fn busy(more: &[&str]) -> Server {
    Server::start(&[BUSY, more].concat())
}

#[test]
fn every_client_receives_every_event() {
    let server = busy(&[]);
    let streams: Vec<Vec<Block>> = std::thread::scope(|scope| {
        let read = || server.get("/stream?since=0&until=800").events(1000);
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(read)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for stream in &streams {
        assert_eq!(ids(stream), (1..=800).collect::<Vec<_>>());
        assert!(stream.iter().all(|block| block.json()["offset"] == block.id));
    }
    assert!(streams.iter().all(|stream| *stream == streams[0]));
    // The other door shows the same bytes.
    let mut page = server.get("/events?limit=800");
    let data: Vec<_> = streams[0].iter().map(|block| block.data.as_str()).collect();
    assert!(page.text().contains(&format!("\"events\":[{}],\"next_since\":800}}", data.join(","))));
    let types: HashSet<_> = streams[0].iter().map(|block| block.event.as_str()).collect();
    assert_eq!(types.len(), 4);
}

#[test]
fn a_stream_without_position_starts_now() {
    let server = busy(&[]);
    server.wait_for(100);
    let before = server.last_offset();
    let first = server.get("/stream").event().unwrap();
    assert!(first.id > before);
    assert!(first.id < before + 400, "{} after {before}", first.id);
}

#[test]
fn the_last_id_wins_over_since_and_resuming_misses_nothing() {
    let server = busy(&[]);
    let mut seen: Vec<u64> = Vec::new();
    for _ in 0..5 {
        let last = seen.last().copied().unwrap_or(0);
        let header = format!("Last-Event-ID: {last}\r\n");
        let mut stream = server.get_with("/stream?since=7", &header).unwrap();
        seen.extend(ids(&stream.events(60)));
    }
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
}

#[test]
fn a_position_of_another_life_starts_over() {
    let server = busy(&[]);
    let first = server.get("/stream?since=4000000000").event().unwrap();
    assert_eq!(first.id, 1);
}

#[test]
fn what_retention_dropped_is_reported_as_a_gap() {
    for dir in [None, Some(support::Dir::new())] {
        let mut options = vec!["--retain-events", "200"];
        if let Some(dir) = &dir {
            options.extend(["--data-dir", dir.str()]);
        }
        let server = busy(&options);
        server.wait_for(600);
        let mut stream = server.get("/stream?since=10");
        let (gap, after) = (stream.event().unwrap(), stream.event().unwrap());
        assert_eq!(gap.event, "gap");
        assert_eq!(gap.json()["first_missed"], 11);
        assert_eq!(gap.json()["last_missed"], gap.id);
        assert_eq!(gap.json()["epoch"], stream.headers["x-epoch"]);
        assert_eq!(after.id, gap.id + 1);
        let health = server.json("/health");
        assert!(health["stored"].as_u64().unwrap() >= 200);
        assert!(health["stored"].as_u64().unwrap() < 400, "{health}");
        // A stream that ends inside the gap ends there, and is over when asked again.
        let gap = server.get("/stream?since=10&until=20").events(9);
        assert_eq!((ids(&gap), gap[0].json()["last_missed"].as_u64()), (vec![20], Some(20)));
        assert_eq!(server.get("/stream?since=20&until=20").status, 204);
        assert!(server.get("/metrics").text().contains("restaurant_api_gaps_sent_total 2"));
        let events = server.json("/events?since=10&limit=1");
        assert!(events["events"][0]["offset"].as_u64().unwrap() > 11);
    }
}

#[test]
fn until_an_offset_is_inclusive_and_over_afterwards() {
    let server = busy(&[]);
    server.wait_for(3);
    let mut stream = server.get("/stream?since=3&until=5");
    assert_eq!(ids(&stream.events(9)), [4, 5]);
    for past in ["/stream?since=5&until=5", "/stream?since=9&until=5", "/stream?until=0"] {
        let mut answer = server.get(past);
        assert_eq!((answer.status, answer.text().as_str()), (204, ""), "{past}");
        assert!(answer.headers.contains_key("x-epoch"));
    }
}

#[test]
fn until_a_time_ends_with_the_last_event_before_it() {
    let server = busy(&[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let until = restaurant_api::wire::timestamp(now + 700_000);
    let until = std::str::from_utf8(&until).unwrap();
    let target = format!("/stream?since=0&until={until}");
    let stream = server.get(&target).events(100_000);
    let expected: Vec<u64> = server
        .history(0)
        .iter()
        .filter(|event| event["ts"].as_str().unwrap() <= until)
        .map(|event| event["offset"].as_u64().unwrap())
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(ids(&stream), expected);
    let last = expected.last().unwrap();
    assert_eq!(server.get(&format!("/stream?since={last}&until={until}")).status, 204);
    assert_eq!(server.get("/stream?until=2020-01-01T00:00:00%2B05:00").status, 204);
    assert_eq!(server.get("/stream?until=2020-01-01T00:00:00+05:00").status, 204);
}

#[test]
fn until_a_time_ends_a_silent_stream_too() {
    let server = Server::start(&["--rate", "0.0001"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let until = restaurant_api::wire::timestamp(now + 300_000);
    let target = format!("/stream?until={}", std::str::from_utf8(&until).unwrap());
    assert_eq!(server.get(&target).events(1), []);
}

#[test]
fn filters_choose_and_keep_the_true_offsets() {
    let server = busy(&[]);
    server.wait_for(600);
    let query = "types=payment_captured,feedback_submitted&locations=LOC-ON-002,LOC-ON-012";
    let chosen = |event: &serde_json::Value| {
        ["payment_captured", "feedback_submitted"].contains(&event["event_type"].as_str().unwrap())
            && ["LOC-ON-002", "LOC-ON-012"].contains(&event["partition_key"].as_str().unwrap())
    };
    let expected: Vec<u64> = server
        .history(0)
        .iter()
        .filter(|event| chosen(event))
        .map(|event| event["offset"].as_u64().unwrap())
        .filter(|offset| *offset <= 600)
        .collect();
    assert!(expected.len() > 10);
    let stream = server.get(&format!("/stream?since=0&until=600&{query}")).events(1000);
    assert_eq!(ids(&stream), expected);

    let page = server.json(&format!("/events?limit=5&{query}"));
    let offsets = page["events"].as_array().unwrap().iter().map(|e| e["offset"].as_u64().unwrap());
    assert_eq!(offsets.collect::<Vec<_>>(), expected[..5]);
    assert_eq!(page["next_since"], expected[4]);
}

#[test]
fn shards_share_the_stream_out_by_partition_key() {
    let server = busy(&[]);
    server.wait_for(400);
    let mut all = Vec::new();
    let mut keys = std::collections::HashMap::new();
    for shard in 0..5 {
        let part = server.get(&format!("/stream?since=0&until=400&shard={shard}/5")).events(1000);
        all.extend(ids(&part));
        let page = server.json(&format!("/events?limit=300&shard={shard}/5"));
        for event in page["events"].as_array().unwrap() {
            let key = event["partition_key"].as_str().unwrap().to_owned();
            assert_eq!(*keys.entry(key).or_insert(shard), shard);
        }
    }
    all.sort_unstable();
    assert_eq!(all, (1..=400).collect::<Vec<u64>>());
    assert_eq!(keys.len(), 12);
    let both = server.json("/events?shard=1/2&locations=LOC-ON-001");
    assert_eq!(both["events"], serde_json::json!([]));
}

#[test]
fn events_pages_join_without_seam() {
    let server = busy(&[]);
    server.wait_for(250);
    let first = server.json("/events?limit=100");
    assert_eq!(first["events"].as_array().unwrap().len(), 100);
    assert_eq!(first["next_since"], 100);
    let second = server.json("/events?since=100&limit=100");
    assert_eq!(second["events"][0]["offset"], 101);
    assert_eq!(first["epoch"], server.json("/health")["epoch"]);
    let beyond = server.json("/events?since=99999999");
    assert_eq!(
        (&beyond["events"], &beyond["next_since"]),
        (&serde_json::json!([]), &99999999.into())
    );
}

#[test]
fn wrong_questions_are_refused_by_name() {
    let server = busy(&[]);
    for (target, code, parameter) in [
        ("/events?since=-1", "invalid_parameter", "since"),
        ("/events?since=abc", "invalid_parameter", "since"),
        ("/events?since=99999999999999999999", "invalid_parameter", "since"),
        ("/events?limit=0", "invalid_parameter", "limit"),
        ("/events?limit=5001", "invalid_parameter", "limit"),
        ("/events?limit=1&limit=2", "repeated_parameter", "limit"),
        ("/events?sinse=1", "unknown_parameter", "sinse"),
        ("/events?types=order", "invalid_parameter", "types"),
        ("/events?types=", "invalid_parameter", "types"),
        ("/events?locations=LOC-ON-013", "invalid_parameter", "locations"),
        ("/stream?shard=2/2", "invalid_parameter", "shard"),
        ("/stream?shard=0/13", "invalid_parameter", "shard"),
        ("/events?shard=+0/2", "invalid_parameter", "shard"),
        ("/events?shard=0", "invalid_parameter", "shard"),
        ("/stream?since=1.5", "invalid_parameter", "since"),
        ("/stream?until=tomorrow", "invalid_parameter", "until"),
        ("/stream?limit=1", "unknown_parameter", "limit"),
        ("/health?x=1", "unknown_parameter", "x"),
    ] {
        let mut answer = server.get(target);
        let body: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
        let error = &body["error"];
        assert_eq!(answer.status, 400, "{target}");
        assert_eq!((&error["code"], &error["parameter"]), (&code.into(), &parameter.into()));
        assert!(error["message"].as_str().unwrap().contains(parameter), "{error}");
    }
    let mut answer = server.get_with("/stream", "Last-Event-ID: x\r\n").unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("\"parameter\":\"Last-Event-ID\""));
    let message = server.get("/events?types=order").text();
    assert!(
        message.contains("order_created, order_item_added, payment_captured, feedback_submitted")
    );
    let mut answer = server.get("/nowhere");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("not_found"));
}

#[test]
fn silence_is_filled_with_comments() {
    let server = Server::start(&["--rate", "0.0001", "--heartbeat", "100ms"]);
    let mut stream = server.get("/stream?types=feedback_submitted");
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    let opening = stream.block().unwrap().unwrap();
    assert_eq!(opening.raw, "retry: 1000\n: connected\n\n");
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(stream.block().unwrap().unwrap().raw, ": heartbeat\n\n");
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn filtered_out_events_are_silence() {
    let server = Server::start(&["--events-per-second", "500", "--heartbeat", "100ms"]);
    let mut stream = server.get("/stream?types=feedback_submitted");
    for _ in 0..3 {
        assert_eq!(stream.block().unwrap().unwrap().event, "");
    }
}

#[test]
fn a_client_that_does_not_read_harms_nobody() {
    let options = ["--events-per-second", "30000", "--retain-events", "20000"];
    let server = Server::start(&options);
    let mut sleepers: Vec<_> = (0..20).map(|_| server.get("/stream?since=0")).collect();
    // Bounded by what is counted, not by time: far more than sockets can hold.
    let mut reader = server.get("/stream");
    let mut last = reader.event().unwrap().id;
    for block in reader.events(60_000) {
        assert_eq!((block.id, block.event.as_str() == "gap"), (last + 1, false));
        last = block.id;
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let rss: u64 = rss.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(rss < 150_000, "{rss} kB");
    // The sleeper wakes: it gets what was on its way, is told what it missed, and goes on.
    let mut expected = 1;
    loop {
        let block = sleepers[0].event().unwrap();
        if block.event == "gap" {
            assert_eq!(block.json()["first_missed"], expected);
            expected = block.id + 1;
            break;
        }
        assert_eq!(block.id, expected);
        expected += 1;
    }
    assert_eq!(sleepers[0].event().unwrap().id, expected);
}

#[test]
fn a_signal_ends_everything_in_good_order() {
    let dir = support::Dir::new();
    let server = busy(&["--data-dir", dir.str()]);
    let mut stream = server.get("/stream");
    let stuck = busy_socket(&server);
    stream.event().unwrap();
    let (took, success) = server.terminate();
    assert!(success && took < Duration::from_secs(2), "{took:?}");
    // A clean end of the body, not a torn connection.
    while let Some(block) = stream.block().unwrap() {
        assert!(block.raw.ends_with("\n\n"));
    }
    assert!(!dir.path().join("running").exists());
    drop(stuck);
}

/// A connection that is open and will never be read.
fn busy_socket(server: &Server) -> support::Answer {
    server.get("/stream?since=0")
}

#[test]
fn a_busy_port_is_named() {
    let server = busy(&[]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_restaurant-api"))
        .args(["serve", "--bind", &server.address])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let port = server.address.rsplit(':').next().unwrap();
    assert!(!output.status.success());
    assert!(said.contains(&format!("port {port} is in use")), "{said}");
}

#[test]
fn health_metrics_and_docs_answer() {
    let server = busy(&[]);
    server.wait_for(300);
    let _listener = server.get("/stream");
    let health = server.json("/health");
    assert_eq!(health["status"], "ok");
    assert_eq!(health["first_offset"], 1);
    assert_eq!(health["clients"], 1);
    let rate = health["rate"].as_f64().unwrap();
    assert!((300.0..700.0).contains(&rate), "{health}");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("restaurant_api_stream_clients 1"));
    assert!(metrics.contains("restaurant_api_requests_total{route=\"/health\",status=\"200\"}"));
    let openapi = server.json("/openapi.json");
    for path in ["/health", "/events", "/stream", "/metrics"] {
        assert!(openapi["paths"][path]["get"]["responses"]["200"].is_object(), "{path}");
    }
    let page = server.get("/docs").text();
    assert!(page.contains("openapi.json"));
    assert!(!page.contains("http://") && !page.contains("https://"), "asks others");
}

#[test]
fn times_never_run_back_nor_ahead() {
    let server = busy(&[]);
    server.wait_for(1000);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let now = restaurant_api::wire::timestamp(now + 1_000_000);
    let history = server.history(0);
    let mut last = "";
    for event in &history {
        let ts = event["ts"].as_str().unwrap();
        assert!(ts >= last);
        last = ts;
        for inner in ["order_ts", "created_ts"] {
            if let Some(time) = event["payload"][inner].as_str() {
                assert_eq!(time, ts);
            }
        }
    }
    assert!(last.as_bytes() < now.as_slice());
}

#[test]
fn a_socket_that_hangs_up_is_noticed() {
    let server = busy(&[]);
    let mut socket = std::net::TcpStream::connect(&server.address).unwrap();
    std::io::Write::write_all(&mut socket, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    socket.read_exact(&mut [0; 10]).unwrap();
    drop(socket);
    let deadline = Instant::now() + support::PATIENCE;
    while server.json("/health")["clients"] != 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
}
