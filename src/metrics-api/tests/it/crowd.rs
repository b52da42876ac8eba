//! A thousand clients. The bounds are about three times what was measured, for busy machines.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::database::Db;
use crate::server::{PATIENCE, Server};

const CLIENTS: usize = 1000;
/// Bytes that a client keeps to look for an id in.
const KEPT: usize = 4096;

/// Reads for ever; says when it has seen an order of the list, by its place there.
async fn watch(
    address: String,
    ids: tokio::sync::watch::Receiver<Vec<String>>,
    seen: mpsc::UnboundedSender<usize>,
) {
    let mut socket = TcpStream::connect(&address).await.unwrap();
    socket
        .write_all(format!("GET /live HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut text = Vec::new();
    let mut buffer = vec![0; 32 << 10];
    let mut found = 0;
    loop {
        let count = socket.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the server ended the stream");
        text.extend_from_slice(&buffer[..count]);
        while let Some(id) = ids.borrow().get(found) {
            if !text.windows(id.len()).any(|window| window == id.as_bytes()) {
                break;
            }
            let _ = seen.send(found);
            found += 1;
        }
        let old = text.len().saturating_sub(KEPT);
        text.drain(..old);
    }
}

fn memory_mib(server: &Server, line: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix(line)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_see_an_order_within_a_second() {
    let db = Db::new().await;
    db.sell(500, 60).await;
    // The soft limit of files is often 1,024, and this process needs as many.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).unwrap();
    let server = Server::ready(&db, &[]).await;
    let alone = memory_mib(&server, "VmRSS:");
    let (ids, receiver) = tokio::sync::watch::channel(Vec::new());
    let (seen, mut sightings) = mpsc::unbounded_channel();
    // Dropped before the server is: what ends then is no fault.
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(watch(server.address.clone(), receiver.clone(), seen.clone()));
    }
    let all = format!("metrics_api_live_clients {CLIENTS}");
    server
        .until("/prometheus", |_, text| text.as_str().is_some_and(|text| text.contains(&all)))
        .await;
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let id = db.one("select gen_random_uuid()").await;
        ids.send_modify(|ids| ids.push(id.clone()));
        let begun = Instant::now();
        db.run(&format!(
            "begin; insert into analytics.orders (order_id, service_type, order_ts, location_code, total)
            values ('{id}', 'takeout', now(), 'LOC-ON-001', 1.00);
            notify sse_stream, '{{\"stream\":\"restaurant\",\"events\":1}}'; commit"
        ))
        .await;
        for _ in 0..CLIENTS {
            let found = tokio::time::timeout(PATIENCE, sightings.recv()).await.unwrap().unwrap();
            assert_eq!(found, round);
        }
        slowest = slowest.max(begun.elapsed());
    }
    assert!(clients.try_join_next().is_none(), "a client's stream ended");
    let peak = memory_mib(&server, "VmHWM:");
    eprintln!(
        "slowest of 5 x {CLIENTS}: {slowest:?}; memory {alone:.0} MiB alone, {peak:.0} MiB at most"
    );
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(peak < 150.0, "{peak} MiB");
}
