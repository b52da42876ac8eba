//! Data that is not as the preset expects it: the policies of a route.

use ingest::{ErrorKind, Preset};

use crate::support::{Db, Script, config, run};

const ROUTE: &str = r#"
    [stream]
    name = "drift"
    type = "/type"
    [[route]]
    event = "*"
    table = "shop.all"
    mode = "insert"
    key = ["id"]
    columns = { id = "$id", data = "$data" }
    [[route]]
    event = "a"
    table = "shop.some"
    mode = "insert"
    key = ["id"]
    columns = { id = "$id", n = "/n", inside = "/in/side", first = "/list/0/x" }
"#;

const EVENTS: [(&str, &str); 4] = [
    ("a", r#"{"type":"a","n":1,"in":{"side":"x"},"list":[{"x":"y"}]}"#),
    ("a", r#"{"type":"a","n":2,"in":{}}"#),
    ("a", r#"{"type":"a","n":"three","in":{"side":"x"},"list":[{"x":"y"}]}"#),
    (
        "a",
        r#"{"type":"a","n":4,"in":{"side":"x","new":1},"list":[{"x":"y","z":{"deep":1}},{"w":1}],"a/b":2}"#,
    ),
];

struct Landed {
    rows: Vec<String>,
    dead: Vec<String>,
    drift: (u64, u64, u64),
}

async fn land(policy: &str) -> Result<Landed, ingest::Error> {
    let db = Db::new().await;
    db.run("create table shop.all (id bigint primary key, data jsonb); create table shop.some (id bigint primary key, n integer, inside text, first text); create table shop.more (id bigint primary key, data jsonb)")
        .await;
    let source = Script::of(&EVENTS);
    let mut config = config(&db, &source);
    config.preset = Preset::parse(&format!("{ROUTE}{policy}")).unwrap();
    let report = run(config).await?;
    let drift = report.drift.get("shop.some").copied().unwrap_or_default();
    assert!(!report.drift.contains_key("shop.all"));
    Ok(Landed {
        rows: db.list("select id, n, inside, first from shop.some order by 1").await,
        dead: db.dead().await,
        drift: (drift.missing, drift.mistyped, drift.new_fields),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_nothing_is_counted() {
    let landed = land("").await.unwrap();
    assert_eq!(landed.rows, ["1|1|x|y", "2|2||", "4|4|x|y"]);
    assert_eq!((landed.dead, landed.drift), (vec!["3|wrong_type|1".into()], (0, 0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_store_null_or_refuse_and_count_events() {
    let landed =
        land("missing = \"null\"\nmistyped = \"null\"\nnew_fields = \"ignore\"").await.unwrap();
    assert_eq!(landed.rows, ["1|1|x|y", "2|2||", "3||x|y", "4|4|x|y"]);
    // Two fields are missing in one event; of four new ones all are in one.
    assert_eq!((landed.dead.len(), landed.drift), (0, (1, 1, 1)));

    let refused =
        "missing = \"dead_letter\"\nmistyped = \"dead_letter\"\nnew_fields = \"dead_letter\"";
    let landed = land(refused).await.unwrap();
    assert_eq!(landed.rows, ["1|1|x|y"]);
    assert_eq!(landed.dead, ["2|missing_field|1", "3|wrong_type|1", "4|new_field|1"]);
    assert_eq!(landed.drift, (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_or_mapped_by_another_route_is_not_new() {
    let known = "new_fields = \"dead_letter\"\nknown = [\"/in/new\", \"/list/0/z\", \"/list/1\", \"/a~1b\"]";
    let landed = land(known).await.unwrap();
    assert_eq!(landed.dead, ["3|wrong_type|1"]);
    let all_but_one = known.replace(", \"/a~1b\"", "");
    let landed = land(&all_but_one).await.unwrap();
    assert_eq!(landed.dead, ["3|wrong_type|1", "4|new_field|1"]);
    let mapped = all_but_one
        + "\n[[route]]\nevent = \"a\"\ntable = \"shop.more\"\nmode = \"insert\"\nkey = [\"id\"]\ncolumns = { id = \"$id\", data = \"/a~1b\" }\n";
    assert_eq!(land(&mapped).await.unwrap().dead, ["3|wrong_type|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_fail_the_run_at_the_first_such_event() {
    for (policy, offset) in [("missing", "2"), ("mistyped", "3"), ("new_fields", "4")] {
        let error = land(&format!("{policy} = \"fail\"")).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::BadEvent);
        assert!(error.to_string().contains(&format!("id \"{offset}\"")), "{policy}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_grows_between_two_batches_and_later_runs_know_it() {
    let db = Db::new().await;
    db.run("create table shop.all (id bigint primary key, data jsonb); create table shop.some (id bigint primary key, n integer, inside text, first text)")
        .await;
    let source = Script::of(&EVENTS);
    let preset =
        Preset::parse(&format!("{ROUTE}mistyped = \"null\"\nnew_fields = \"add_column\"")).unwrap();
    let mut first = config(&db, &source);
    first.preset = preset.clone();
    first.limits.max_events = Some(4);
    let report = run(first).await.unwrap();
    assert_eq!((report.events_processed, report.dead_letters), (4, 0));
    assert_eq!((report.rows["shop.some"], report.last_offset), (4, Some(4)));
    assert_eq!(
        db.list("select id, n, in_new, list_0_z, a_1b from shop.some order by 1").await,
        ["1|1|||", "2|2|||", "3||||", r#"4|4|1|{"deep": 1}|2"#]
    );
    assert_eq!(
        db.list("select stop_reason from sse_stream.runs order by started_at").await,
        ["new_columns", "event_limit"]
    );

    source.add(&[("a", r#"{"type":"a","n":5,"in":{"new":[7]},"more":null}"#)]);
    let mut second = config(&db, &source);
    second.preset = preset.clone();
    assert_eq!(run(second).await.unwrap().events_processed, 1);
    assert_eq!(db.one("select in_new, more from shop.some where id = 5").await, "[7]|null");
    // What came before lands again as what it is.
    db.run("update sse_stream.offsets set position = 0").await;
    let mut third = config(&db, &source);
    third.preset = preset;
    assert_eq!(run(third).await.unwrap().duplicates, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_owns_a_table_lets_it_grow() {
    let db = Db::new().await;
    let role = format!("guest_{}", std::process::id());
    db.run(&format!("create table shop.all (id bigint primary key, data jsonb); create table shop.some (id bigint primary key, n integer, inside text, first text); drop role if exists {role}; create role {role} login password 'weak'; grant usage on schema shop, sse_stream to {role}; grant select, insert, update, delete on all tables in schema shop, sse_stream to {role}"))
        .await;
    let source = Script::of(&EVENTS);
    let mut config = config(&db, &source);
    config.preset = Preset::parse(&format!("{ROUTE}new_fields = \"add_column\"")).unwrap();
    let (_, place) = db.url.split_once('@').unwrap();
    config.database =
        ingest::DatabaseConfig::from_url(&format!("postgresql://{role}:weak@{place}")).unwrap();
    let error = run(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
    assert!(error.to_string().contains("owns the table"), "{error}");
    db.run(&format!("drop owned by {role}; drop role {role}")).await;
}
