//! Freshness, told as it is: of an empty system too.

use serde_json::{Value, json};

use crate::database::Db;
use crate::server::Server;

#[tokio::test]
async fn an_empty_system_looks_empty_and_not_fresh() {
    let db = Db::new().await;
    let server = Server::start(&db, &[]);
    let said = server.until("/ready", |_, body| body["reason"] == "never").await;
    assert_eq!(said["ready"], false);
    let kpis = server.json("/kpis").await;
    let none = json!({"orders": 0, "orders_per_minute": 0.0, "revenue": "0.00", "mean_ticket": null,
        "tips": "0.00", "items": 0, "feedback": 0, "rating": null, "nps": null});
    assert_eq!((&kpis["current"], &kpis["before"]), (&none, &none));
    let pipeline = server.json("/pipeline").await;
    assert_eq!(pipeline["streams"][0]["state"], "never");
    for unknown in ["heard_age_s", "data_age_s", "lag_events", "batches_per_minute"] {
        assert_eq!(pipeline["streams"][0][unknown], Value::Null, "{unknown}");
    }
    let (_, text) = server.get("/prometheus").await;
    let text = text.as_str().unwrap();
    assert!(text.contains("sse_stream_heard{shard=\"0\",stream=\"restaurant\"} 0"), "{text}");
    assert!(text.contains("sse_stream_has_data 0"), "{text}");
    for absent in ["heard_age_seconds", "data_age_seconds", "lag_events", "run_age_seconds"] {
        assert!(!text.contains(absent), "{absent}:\n{text}");
    }
}

#[tokio::test]
async fn the_pipeline_is_told_from_the_books() {
    let db = Db::new().await;
    db.heard(0.0).await;
    db.run(
        "insert into sse_stream.gaps (stream, epoch, first_missed, last_missed, noticed_by, repaired_at)
        values ('restaurant', 'e1', 5, 9, 'offset_jump', null), ('restaurant', 'e1', 20, 20, 'gone', now());
        insert into sse_stream.dead_letters (stream, event_offset, reason_code, reason, raw, state)
        values ('restaurant', 3, 'bad_json', 'no', 'x', 'open'), ('restaurant', 4, 'bad_json', 'no', 'y', 'replayed'),
            ('restaurant', 6, 'conflict', 'other', 'z', 'open'), ('restaurant', 7, 'conflict', 'other', 'q', 'open'),
            ('elsewhere', 4, 'bad_json', 'no', 'y', 'open');
        insert into sse_stream.waiting (stream, event_offset, event_type, parent_table, parent_key, parent_id, raw)
        values ('restaurant', 8, 'paid', 'orders', 'k', '1', 'r');
        insert into sse_stream.runs (stream, dag_id, run_id, events, error, ended_at, log_url, started_at)
        values ('restaurant', 'ingest', 'run 1', 10, 'broken', now(), '', now() - interval '1 minute'),
            ('restaurant@a/b', 'ingest', 'run/2', 11, null, null, 'http://airflow/log', now()),
            ('elsewhere', 'other', 'run 3', 12, null, now(), '', now())",
    )
    .await;
    let server = Server::ready(&db, &["--airflow-url", "http://flow:8081"]).await;
    let pipeline = server.json("/pipeline").await;
    let stream = &pipeline["streams"][0];
    for (field, value) in [
        ("stream", json!("restaurant")),
        ("writers", json!(1)),
        ("position", json!(41)),
        ("highest", json!(42)),
        ("dead_letters_open", json!(3)),
        ("gaps_open", json!(1)),
        ("missed_events", json!(5)),
        ("waiting", json!(1)),
        ("lag_events", Value::Null),
    ] {
        assert_eq!(stream[field], value, "{field}");
    }
    assert_eq!(pipeline["source"], json!({"head": null, "reachable": null}));
    let runs = pipeline["runs"].as_array().unwrap();
    let shown: Vec<String> = runs
        .iter()
        .map(|run| format!("{} {} {}", run["run_id"], run["error"], run["log_url"]))
        .collect();
    let link = "\"http://flow:8081/dags/ingest/grid?dag_run_id=run%201\"";
    assert_eq!(
        shown,
        [
            "\"run/2\" null \"http://airflow/log\"".to_owned(),
            format!("\"run 1\" \"broken\" {link}"),
        ]
    );
    let letters = server.json("/dead-letters?reason=conflict").await;
    assert_eq!(
        letters["by_reason"],
        json!([
            {"reason_code": "conflict", "open": 2}, {"reason_code": "bad_json", "open": 1},
        ])
    );
    let offsets: Vec<i64> = letters["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["event_offset"].as_i64().unwrap())
        .collect();
    assert_eq!(offsets, [7, 6]);
    assert_eq!(letters["rows"][0].get("raw"), None);
    assert_eq!(server.json("/dead-letters?reason=wrong_type").await["rows"], json!([]));

    for (age, state) in [(1.0, "live"), (4.0, "late"), (7.0, "stopped")] {
        db.heard(age).await;
        let pipeline = server.json("/pipeline").await;
        assert_eq!(pipeline["streams"][0]["state"], state, "{age}");
        let heard = pipeline["streams"][0]["heard_age_s"].as_f64().unwrap();
        assert!((heard - age).abs() < 1.0, "{heard}");
    }
    db.heard(61.0).await;
    server.until("/ready", |status, body| status == 503 && body["reason"] == "stale").await;
    db.heard(0.0).await;
    server.until("/ready", |status, _| status == 200).await;
}

/// A source that says where it stands, in an epoch.
async fn source(epoch: &'static str) -> String {
    use axum::routing::get;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = json!({"status": "ok", "last_offset": 50, "epoch": epoch});
    let app = axum::Router::new().route("/health", get(async move || axum::Json(answer)));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

#[tokio::test]
async fn the_lag_is_known_where_the_source_tells_its_head() {
    let db = Db::new().await;
    let url = source("e1").await;
    let server = Server::ready(&db, &["--source-url", &url]).await;
    let known = |_: u16, body: &Value| body["source"]["head"] == 50;
    let pipeline = server.until("/pipeline", known).await;
    assert_eq!(pipeline["streams"][0]["lag_events"], 9);
    let url = source("another").await;
    let server = Server::ready(&db, &["--source-url", &url]).await;
    let pipeline = server.until("/pipeline", known).await;
    // Offsets of two histories have nothing to do with each other.
    assert_eq!(pipeline["streams"][0]["lag_events"], Value::Null);
    let server = Server::ready(&db, &["--source-url", "http://127.0.0.1:9"]).await;
    assert_eq!(server.json("/pipeline").await["source"], json!({"head": null, "reachable": false}));
}

/// Names of our series in a text.
fn series(text: &str) -> std::collections::BTreeSet<String> {
    let is_name = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    text.split(|sign| !is_name(sign))
        .filter(|word| word.starts_with("sse_stream_") || word.starts_with("metrics_api_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn rules_and_dashboard_ask_for_series_that_exist() {
    let db = Db::new().await;
    db.order("LOC-ON-001", "1.00").await;
    db.run(
        "insert into sse_stream.runs (stream, dag_id, run_id, ended_at)
        values ('restaurant', 'ingest', 'run', now())",
    )
    .await;
    let url = source("e1").await;
    let server = Server::ready(&db, &["--source-url", &url]).await;
    server.until("/pipeline", |_, body| body["source"]["head"] == 50).await;
    let told = server
        .until("/prometheus", |_, text| text.as_str().unwrap().contains("events_per_second{"))
        .await;
    let told = series(told.as_str().unwrap());
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker");
    for file in ["prometheus/rules.yml", "grafana/dashboards/pipeline.json"] {
        let asked = series(&std::fs::read_to_string(root.join(file)).unwrap());
        assert!(asked.len() > 8);
        let strange: Vec<_> = asked.difference(&told).collect();
        assert!(strange.is_empty(), "{file} asks for {strange:?}, told are {told:?}");
    }
}

#[tokio::test]
async fn a_run_that_died_without_a_word_is_told_of() {
    let db = Db::new().await;
    let server = Server::ready(&db, &[]).await;
    db.run(
        "insert into sse_stream.runs (stream, started_at, ended_at, stop_reason) values
            ('restaurant', now() - interval '3 hours', now() - interval '2 hours', 'lost');
        insert into sse_stream.runs (stream, started_at) values
            ('restaurant', now() - interval '2 hours')",
    )
    .await;
    let age = |text: &Value| {
        let line =
            text.as_str()?.lines().find(|it| it.starts_with("sse_stream_run_age_seconds "))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    // It runs, for its stream is heard.
    let told = server.until("/prometheus", |_, text| age(text).is_some_and(|it| it < 30.0)).await;
    assert!(told.as_str().unwrap().contains("sse_stream_recent_failed_runs 1"), "{told}");
    db.heard(5000.0).await;
    server.until("/prometheus", |_, text| age(text).is_some_and(|it| it > 4000.0)).await;
}
