//! A database that goes away, by saying so or without a word, and comes back.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::database::Db;
use crate::proxy::{Proxy, Way};
use crate::server::{Server, Sse};

#[tokio::test]
async fn a_lost_database_is_told_of_and_regained() {
    let db = Db::new().await;
    db.heard(0.0).await;
    let proxy = Proxy::to(db.address()).await;
    let server = Server::over(&db.url_at(&proxy.address), &[]);
    server.until("/ready", |status, _| status == 200).await;
    let mut live = Sse::open(&server, "", None).await;
    live.of("kpis").await;

    proxy.set(Way::Cut);
    let said = server.until("/ready", |status, _| status == 503).await;
    assert_eq!(said["reason"], "database");
    assert_eq!(server.get("/health").await.0, 200);
    let (status, body) = server.get("/kpis").await;
    assert_eq!((status, &body["error"]["code"]), (503, &Value::from("database_unreachable")));
    assert!(!body.to_string().contains("reader"), "{body}");
    let (_, text) = server.get("/prometheus").await;
    let text = text.as_str().unwrap();
    assert!(text.contains("metrics_api_database_up 0"), "{text}");
    // Old values under a new time would be lies.
    assert!(!text.contains("sse_stream_position"), "{text}");
    let told =
        live.until(|it| it.kind == "pipeline" && it.data["database"]["reachable"] == false).await;
    assert_eq!(told.data["streams"][0]["stream"], "restaurant");
    live.of("beat").await;

    proxy.set(Way::Open);
    db.heard(0.0).await;
    server.until("/ready", |status, _| status == 200).await;
    let id = db.order("LOC-ON-001", "12.00").await;
    live.until(|message| message.has_order(&id)).await;
    assert_eq!(server.get("/kpis").await.0, 200);
}

#[tokio::test]
async fn a_silent_database_silences_nobody() {
    let db = Db::new().await;
    db.heard(0.0).await;
    let proxy = Proxy::to(db.address()).await;
    let server = Server::over(&db.url_at(&proxy.address), &[]);
    server.until("/ready", |status, _| status == 200).await;
    let mut live = Sse::open(&server, "", None).await;
    live.of("kpis").await;
    proxy.set(Way::Silent);
    let begun = Instant::now();
    let mut beats = 0;
    while begun.elapsed() < Duration::from_secs(8) {
        let since = Instant::now();
        live.of("beat").await;
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
        beats += 1;
    }
    assert!(beats >= 6, "{beats}");
    assert_eq!(server.get("/ready").await.0, 503);
    let asked = Instant::now();
    assert_eq!(server.get("/kpis").await.0, 503);
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    proxy.set(Way::Open);
    db.heard(0.0).await;
    server.until("/ready", |status, _| status == 200).await;
}

#[tokio::test]
async fn without_a_database_it_starts_and_waits() {
    let db = Db::new().await;
    db.heard(0.0).await;
    let proxy = Proxy::to(db.address()).await;
    proxy.set(Way::Cut);
    let server = Server::over(&db.url_at(&proxy.address), &[]);
    server.until("/ready", |status, body| status == 503 && body["reason"] == "database").await;
    proxy.set(Way::Open);
    server.until("/ready", |status, _| status == 200).await;
}
