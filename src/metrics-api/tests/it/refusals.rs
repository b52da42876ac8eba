//! What is not understood is refused by name, and the description knows every path.

use serde_json::Value;

use crate::database::Db;
use crate::server::{Server, http};

#[tokio::test]
async fn each_bad_parameter_is_named() {
    let db = Db::new().await;
    let server = Server::ready(&db, &[]).await;
    for (target, parameter, allowed) in [
        ("/kpis?minutes=0", "minutes", "1 to 1440"),
        ("/kpis?minutes=1441", "minutes", "1 to 1440"),
        ("/kpis?minutes=+5", "minutes", "integer"),
        ("/kpis?minutes=ten", "minutes", "integer"),
        ("/kpis?minutes=5&minutes=6", "minutes", "once"),
        ("/kpis?minuts=5", "minuts", "minutes, location, service_type"),
        ("/series?limit=5", "limit", "minutes, location, service_type"),
        ("/series?location=LOC-ON-099", "location", "LOC-ON-012"),
        ("/series?location=", "location", "LOC-ON-001"),
        ("/series?service_type=drive_in", "service_type", "dine_in"),
        ("/metrics?limit=5001", "limit", "1 to 5000"),
        ("/metrics?sort=total", "sort", "revenue"),
        ("/metrics?sort=--revenue", "sort", "revenue"),
        ("/metrics?order_by=revenue", "order_by", "sort"),
        ("/metrics/latest?limit=5", "limit", "location, service_type"),
        ("/streams/top?by=courier", "by", "payment_method"),
        ("/streams/top?by=item&metric=tips", "metric", "revenue, items, lines"),
        ("/streams/top?n=201", "n", "1 to 200"),
        ("/locations/top?by=item", "by", "metric"),
        ("/items/top?metric=payments", "metric", "lines"),
        ("/items/top?sort=items", "sort", "minutes, location, service_type, metric, n"),
        ("/payments/mix?metric=revenue", "metric", "amount"),
        ("/locations?minutes=5", "minutes", "none"),
        ("/orders/live?limit=201", "limit", "1 to 200"),
        ("/pipeline?stream=x", "stream", "none"),
        ("/dead-letters?limit=501", "limit", "1 to 500"),
        ("/dead-letters?reason=Bad!", "reason", "code"),
        ("/metrics/latest?minutes=5", "minutes", "location, service_type"),
        ("/live?minutes=x", "minutes", "1 to 1440"),
        ("/live?since=5", "since", "after"),
        ("/health?deep=1", "deep", "none"),
        ("/ready?x=1", "x", "none"),
        ("/prometheus?x=1", "x", "none"),
    ] {
        let (status, body) = server.get(target).await;
        assert_eq!(status, 400, "{target}: {body}");
        assert_eq!(body["error"]["parameter"], parameter, "{target}: {body}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(allowed), "{target}: {message}");
    }
    let (status, body) = server.get("/nowhere").await;
    assert_eq!((status, &body["error"]["code"]), (404, &Value::from("not_found")));
    let (status, _) = server.get(&format!("/kpis?location={}", "x".repeat(5000))).await;
    assert_eq!(status, 414);
    let answer = http().post(server.url("/kpis")).send().await.unwrap();
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn the_description_lists_every_path_with_its_refusals() {
    let text = include_str!("../../docs/openapi.json");
    let api: Value = serde_json::from_str(text).unwrap();
    let described: Vec<&String> = api["paths"].as_object().unwrap().keys().collect();
    let mut routes: Vec<String> = metrics_api::http::routes()
        .iter()
        .map(|(path, _)| path.replace("{*path}", "{path}"))
        .collect();
    let mut known: Vec<String> = described.iter().map(|path| (*path).clone()).collect();
    routes.sort();
    known.sort();
    assert_eq!(routes, known);
    // Every reference leads somewhere.
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once("\"$ref\": \"#") {
        let (pointer, behind) = behind.split_once('"').unwrap();
        assert!(api.pointer(pointer).is_some(), "{pointer}");
        rest = behind;
    }
}

#[tokio::test]
async fn the_page_and_the_description_ask_nobody_else() {
    let db = Db::new().await;
    let server = Server::start(&db, &[]);
    for target in ["/", "/docs"] {
        let answer = http().get(server.url(target)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert!(answer.text().await.unwrap().starts_with("<!doctype html>"));
    }
    let (status, body) = server.get("/assets/..%2Findex.html").await;
    assert_eq!((status, &body["error"]["code"]), (404, &Value::from("not_found")));
    let found = server.json("/openapi.json").await;
    assert_eq!(found["info"]["title"], "metrics-api");
}
