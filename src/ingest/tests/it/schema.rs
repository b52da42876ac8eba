//! Migrations, and routes against tables that lack something.

use ingest::{ErrorKind, Migration, Preset};

use crate::support::{Db, PRESET, Script, config, run};

fn migration(version: i32, sql: &str) -> Migration {
    Migration { version, name: format!("m{version}"), sql: sql.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_once_in_order_and_never_half() {
    let db = Db::new().await;
    let database = db.config();
    let good = [
        migration(2, "insert into o.t values (2)"),
        migration(1, "create schema o; create table o.t (n int)"),
    ];
    let applied = ingest::migrate(&database, "o", &good).await.unwrap();
    assert_eq!(applied.iter().map(|a| a.version).collect::<Vec<_>>(), [1, 2]);
    assert!(ingest::migrate(&database, "o", &good).await.unwrap().is_empty());

    let mut more = good.to_vec();
    more.push(migration(3, "insert into o.t values (3);\nselect no_such_column"));
    let error = ingest::migrate(&database, "o", &more).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("o 0003 m3, line 2"), "{error}");
    assert_eq!(db.one("select string_agg(n::text, '') from o.t").await, "2");

    let changed = [migration(1, "create schema o"), good[0].clone()];
    let error = ingest::migrate(&database, "o", &changed).await.unwrap_err();
    assert!(error.to_string().contains("changed after"), "{error}");
    let error = ingest::migrate(&database, "o", &good[1..]).await.unwrap_err();
    assert!(error.to_string().contains("upgrade"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runners_do_not_meet() {
    let db = Db::new().await;
    let database = db.config();
    let slow = [migration(1, "create schema o; select pg_sleep(0.3)")];
    let (a, b) = tokio::join!(
        ingest::migrate(&database, "o", &slow),
        ingest::migrate(&database, "o", &slow)
    );
    assert_eq!(a.unwrap().len() + b.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_route_lacks_is_named() {
    let db = Db::new().await;
    db.run("create table shop.odd (at interval, n int generated always as (1) stored)").await;
    let source = Script::serve(true);
    for (from, to, part) in [
        ("shop.stock", "shop.stok", "table shop.stok does not exist"),
        ("level = \"/level\"", "levl = \"/level\"", "column \"levl\" does not exist"),
        ("key = [\"sku\"]", "key = [\"level\"]", "no unique constraint"),
        (", name = \"/name\"", "", "column \"name\" must not be null"),
        ("parent = \"shop.orders\"", "parent = \"shop.stock\"", "no foreign key"),
        (
            "table = \"shop.visits\"\n    mode = \"append\"\n    columns = { visit_id = \"/visit\", seen = \"$received_at\" }",
            "table = \"shop.odd\"\n    mode = \"append\"\n    columns = { at = \"/at\" }",
            "interval",
        ),
    ] {
        let text = PRESET.replace(from, to);
        assert_ne!(text, PRESET, "{from}");
        let mut config = config(&db, &source);
        config.preset = Preset::parse(&text).unwrap();
        let error = run(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert_eq!(source.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named() {
    let db = Db::new().await;
    let role = format!("weak_{}", std::process::id());
    db.run(&format!(
        "drop role if exists {role}; create role {role} login password 'weak';
         grant usage on schema shop, sse_stream to {role};
         grant select, insert on all tables in schema shop, sse_stream to {role};
         grant update on sse_stream.offsets, sse_stream.dead_letters, sse_stream.runs to {role}"
    ))
    .await;
    let source = Script::serve(true);
    let mut config = config(&db, &source);
    let (_, place) = db.url.split_once('@').unwrap();
    config.database =
        ingest::DatabaseConfig::from_url(&format!("postgresql://{role}:weak@{place}")).unwrap();
    let error = run(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("no update right on column \"total\""), "{error}");
    db.run(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_that_cannot_be_reached_is_named_without_its_password() {
    let db = Db::new().await;
    let source = Script::serve(true);
    let mut config = config(&db, &source);
    config.database =
        ingest::DatabaseConfig::from_url("postgresql://u:s3cret@127.0.0.1:1/d").unwrap();
    let error = run(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Database);
    assert!(
        error.to_string().contains("d@127.0.0.1:1") && !error.to_string().contains("s3cret"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_books() {
    let db = Db::new().await;
    let source = Script::of(&[("visit", r#"{"visit":1}"#)]);
    run(config(&db, &source)).await.unwrap();
    let status = ingest::status(&db.config(), Some("shop")).await.unwrap();
    assert_eq!(status["streams"][0]["position"], 1);
    assert_eq!(status["streams"][0]["last_runs"][0]["stop_reason"], "end_of_stream");
    assert_eq!(status["migrations"]["shop"], 1);
}
