//! Tokens and what they let somebody see.

use serde_json::Value;

use crate::database::Db;
use crate::server::{Server, http};

#[tokio::test]
async fn a_viewer_sees_figures_and_an_operator_what_went_wrong() {
    let db = Db::new().await;
    db.heard(0.0).await;
    db.run(
        "insert into sse_stream.runs (stream, dag_id, run_id, error, ended_at)
        values ('restaurant', 'ingest', 'run', 'the secret of it', now())",
    )
    .await;
    let file = std::env::temp_dir().join(format!("{}.tokens", db.name));
    std::fs::write(&file, "viewer:look\noperator:mend\n").unwrap();
    let server = Server::start(&db, &["--tokens-file", file.to_str().unwrap()]);
    server.until("/ready", |status, _| status == 200).await;
    std::fs::remove_file(&file).unwrap();

    for open in ["/", "/health", "/ready", "/docs", "/openapi.json"] {
        assert_eq!(server.get(open).await.0, 200, "{open}");
    }
    for target in ["/kpis", "/pipeline", "/dead-letters", "/live", "/prometheus", "/nowhere"] {
        for token in [None, Some("other")] {
            let (status, body) = server.get_as(target, token).await;
            assert_eq!(
                (status, &body["error"]["code"]),
                (401, &Value::from("unauthorized")),
                "{target}"
            );
        }
    }
    assert_eq!(server.get_as("/kpis", Some("look")).await.0, 200);
    assert_eq!(server.get_as("/dead-letters", Some("look")).await.0, 403);
    assert_eq!(server.get_as("/dead-letters", Some("mend")).await.0, 200);
    let error = async |token| {
        let (_, body) = server.get_as("/pipeline", Some(token)).await;
        body["runs"][0]["error"].clone()
    };
    assert_eq!(error("look").await, Value::Null);
    assert_eq!(error("mend").await, "the secret of it");
    // Not through the live stream either.
    for (token, secret) in [("look", false), ("mend", true)] {
        let request = http().get(server.url("/live")).bearer_auth(token);
        let mut answer = request.send().await.unwrap();
        let mut text = String::new();
        while !text.contains("event: pipeline\n") || !text.ends_with("\n\n") {
            text += std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap();
        }
        assert_eq!(text.contains("the secret of it"), secret, "{token}");
    }
}
