//! What people see and do beside the runs: status, doctor, reset, history and its retention.

use std::sync::Arc;
use std::time::Duration;

use ingest::{ErrorKind, Examination, Migration, NoHost, Preset, Reset, Stop, Tolerance};
use serde_json::{Value, json};

use crate::support::{Db, PRESET, SCHEMA, Script, config, eventually, land, run};

fn visits(count: u32) -> Vec<(&'static str, String)> {
    (1..=count).map(|n| ("visit", format!(r#"{{"visit":{n}}}"#))).collect()
}

fn add(script: &Script, count: u32) {
    let events = visits(count);
    let events: Vec<(&str, &str)> =
        events.iter().map(|(event, data)| (*event, data.as_str())).collect();
    script.add(&events);
}

/// A stream that has read `count` events.
async fn read(count: u32) -> (Db, Script) {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, count);
    land(&db, &source).await;
    (db, source)
}

async fn status(db: &Db) -> Value {
    let mut status = ingest::status(&db.config(), Some("shop")).await.unwrap();
    status["streams"][0].take()
}

fn examination(mirror: Option<&str>) -> Examination {
    Examination {
        preset: Preset::parse(PRESET).unwrap(),
        stream: None,
        shard: 0,
        shares_tables: false,
        migrations: vec![Migration { version: 1, name: "shop".into(), sql: SCHEMA.into() }],
        mirror: mirror.map(str::to_owned),
        tolerance: Tolerance { dead_letters: 0, waiting_seconds: 3600, silence_seconds: 900 },
    }
}

async fn findings(db: &Db, asked: &Examination) -> Vec<Value> {
    let mut found = ingest::doctor(&db.config(), asked).await.unwrap();
    serde_json::from_value(found["findings"].take()).unwrap()
}

async fn codes(db: &Db, mirror: Option<&str>) -> Vec<String> {
    let found = findings(db, &examination(mirror)).await;
    found.iter().map(|each| each["code"].as_str().unwrap().to_owned()).collect()
}

fn to(offset: i64) -> Reset {
    Reset {
        stream: "shop".into(),
        shard: 0,
        to: offset,
        head: None,
        head_epoch: None,
        mirror: None,
        by: "ann@desk".into(),
        fence: None,
    }
}

const OFFSET: &str =
    "select position, high_water, mirrored, previously_mirrored, fence from sse_stream.offsets";

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_who_holds_the_stream_and_what_is_left_to_do() {
    let db = Db::new().await;
    let source = Script::serve(false);
    source.add(&[("visit", r#"{"visit":1}"#), ("visit", "{no"), ("visit", r#"{"visit":"x"}"#)]);
    let stop = Stop::default();
    let running = tokio::spawn(ingest::run(config(&db, &source), Arc::new(NoHost), stop.clone()));
    eventually("landed", async || db.dead().await.len() == 2).await;
    db.run(
        "insert into sse_stream.gaps (stream, epoch, first_missed, last_missed, noticed_by)
         select 'shop', 'one', n, n + 1, 'in_band' from generate_series(10, 70, 10) n;
         insert into sse_stream.gaps (stream, epoch, first_missed, last_missed, noticed_by, repaired_at)
         values ('shop', 'one', 90, 95, 'in_band', now());
         update sse_stream.dead_letters set state = 'discarded' where event_offset = 2;
         insert into sse_stream.waiting
             (stream, event_offset, event_type, parent_table, parent_key, parent_id, raw, first_seen_at)
         values ('shop', 3, 'item', 'shop.orders', 'x', '7', '{}', now() - interval '90 seconds')",
    )
    .await;
    let shown = status(&db).await;
    assert_eq!(shown["position"], 3);
    assert_eq!((&shown["held"], &shown["owner"]), (&json!(true), &json!("test")));
    assert_eq!((&shown["open_gaps"], &shown["missed_offsets"]), (&json!(7), &json!(14)));
    assert_eq!(shown["gaps"].as_array().unwrap().len(), 5);
    assert_eq!(shown["dead_letters"], 1);
    assert_eq!(shown["dead_letter_reasons"].as_array().unwrap().len(), 1);
    assert_eq!(shown["waiting"], 1);
    assert!((90..100).contains(&shown["waiting_seconds"].as_i64().unwrap()), "{shown}");
    assert!(shown["last_heard_seconds"].as_i64().unwrap() < 30, "{shown}");
    assert_eq!(shown["last_runs"][0]["state"], "running");
    stop.set();
    running.await.unwrap().unwrap();
    // The lock goes with the session, a moment later.
    eventually("given up", async || status(&db).await["held"] == false).await;
    assert_eq!(status(&db).await["last_runs"][0]["state"], "ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stream_of_the_same_name_elsewhere_is_not_ours() {
    let (db, _) = read(1).await;
    let other = Db::new().await;
    let session = Db::new_session(&other).await;
    let lock = "select pg_advisory_lock(hashtextextended('sse_stream/shop/0', 0))";
    session.batch_execute(lock).await.unwrap();
    eventually("given up", async || status(&db).await["held"] == false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_is_shown_as_lost_and_closed_by_the_next() {
    let db = Db::new().await;
    let source = Script::serve(false);
    add(&source, 3);
    let first = tokio::spawn(run(config(&db, &source)));
    eventually("landed", async || db.one("select count(*) from shop.visits").await == "3").await;
    // As kill -9 does: nobody says good-bye to the database.
    first.abort();
    eventually("lost", async || status(&db).await["last_runs"][0]["state"] == "lost").await;
    assert_eq!(codes(&db, None).await, ["run_lost"]);

    let mut second = config(&db, &source);
    second.limits.idle_timeout = Some(Duration::from_millis(200));
    run(second).await.unwrap();
    assert_eq!(
        db.list("select stop_reason, ended_at is not null, error is null from sse_stream.runs order by id").await,
        ["lost|t|t", "idle|t|t"]
    );
    assert_eq!(status(&db).await["last_runs"][1]["state"], "lost");
    assert!(codes(&db, None).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_failure_tells_what_was_committed_and_why_it_ended() {
    let db = Db::new().await;
    let source = Script::serve(false);
    add(&source, 4);
    let mut failing = config(&db, &source);
    failing.run = ingest::RunIdentity {
        dag_id: "d".into(),
        task_id: "t".into(),
        run_id: "r".into(),
        map_index: 2,
        try_number: 3,
        log_url: "http://airflow/log".into(),
        owner: "here:1".into(),
    };
    let running = tokio::spawn(run(failing));
    eventually("landed", async || db.one("select count(*) from shop.visits").await == "4").await;
    db.run("update sse_stream.offsets set fence = fence + 1").await;
    add(&source, 1);
    assert_eq!(running.await.unwrap().unwrap_err().kind(), ErrorKind::OffsetConflict);
    assert_eq!(
        db.one(
            "select dag_id, task_id, run_id, map_index, try_number, log_url, events, rows, bytes,
                    first_offset, last_offset, epoch, ended_at >= started_at, stop_reason is null,
                    error like '%taken over%' from sse_stream.runs"
        )
        .await,
        "d|t|r|2|3|http://airflow/log|4|8|44|1|4|one|t|t|t"
    );
    assert_eq!(status(&db).await["last_runs"][0]["state"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_well_has_no_findings() {
    let (db, _) = read(5).await;
    assert!(codes(&db, None).await.is_empty());
    db.run("update sse_stream.offsets set mirrored = null, previously_mirrored = null").await;
    assert!(codes(&db, Some("77")).await.is_empty(), "nothing was ever mirrored");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_mirror_would_do_is_told_before_it_does_it() {
    let (db, _) = read(5).await;
    db.run("update sse_stream.offsets set mirrored = 5, previously_mirrored = 3").await;
    for (mirror, expected) in [
        ("5", None),
        ("3", None),
        ("2", Some(json!({"code": "rewind_pending", "from": 5, "to": 2}))),
        ("6", Some(json!({"code": "mirror_beyond", "mirror": 6, "high_water": 5}))),
        ("-1", Some(json!({"code": "mirror_not_a_number", "mirror": "-1"}))),
        ("2.5", Some(json!({"code": "mirror_not_a_number", "mirror": "2.5"}))),
        ("", Some(json!({"code": "mirror_not_a_number", "mirror": ""}))),
    ] {
        assert_eq!(findings(&db, &examination(Some(mirror))).await, Vec::from_iter(expected));
    }
    // Where offsets are counted here, neither is possible.
    for (ids, mirror) in [("text", "2"), ("none", "2"), ("text", "6")] {
        let mut asked = examination(Some(mirror));
        let preset = PRESET.replace("[stream]", &format!("[stream]\nids = {ids:?}"));
        asked.preset = Preset::parse(&preset).unwrap();
        let mirror: i64 = mirror.parse().unwrap();
        let expected = json!({"code": "mirror_counted", "mirror": mirror});
        assert_eq!(findings(&db, &asked).await, [expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_other_parts_tell_nothing_of_this_one() {
    let (db, _) = read(5).await;
    db.run("update sse_stream.offsets set position = 2").await;
    let mut asked = examination(None);
    assert_eq!(findings(&db, &asked).await.len(), 1);
    asked.shares_tables = true;
    assert!(findings(&db, &asked).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_disagreement_of_books_and_tables_is_named() {
    let (db, _) = read(5).await;
    for (change, undo, expected) in [
        (
            "update sse_stream.offsets set position = 2",
            "update sse_stream.offsets set position = 5",
            json!({"code": "rows_above_offset", "table": "shop.raw", "highest": 5, "position": 2,
                   "unprotected": null}),
        ),
        (
            "update sse_stream.offsets set position = 2, high_water = 2, highest = 2",
            "update sse_stream.offsets set position = 5, high_water = 5, highest = 5",
            json!({"code": "rows_above_offset", "table": "shop.raw", "highest": 5, "position": 2,
                   "unprotected": "shop.visits"}),
        ),
        (
            "create table shop.copy as select * from shop.raw; delete from shop.raw where id > 3",
            "insert into shop.raw select * from shop.copy where id > 3",
            json!({"code": "rows_below_offset", "table": "shop.raw", "highest": 3, "position": 5}),
        ),
        (
            "insert into sse_stream.gaps (stream, epoch, first_missed, last_missed, noticed_by)
             values ('shop', 'one', 1, 1, 'in_band')",
            "delete from sse_stream.gaps",
            json!({"code": "gaps_open", "gaps": 1, "offsets": 1}),
        ),
        (
            "insert into sse_stream.waiting
             (stream, event_offset, event_type, parent_table, parent_key, parent_id, raw, first_seen_at)
             values ('shop', 1, 'item', 'shop.orders', 'x', '7', '{}', now() - interval '2 hours')",
            "delete from sse_stream.waiting",
            json!({"code": "waiting_too_long", "events": 1}),
        ),
        (
            "update sse_stream.offsets set last_heard_at = now() - interval '1 hour'",
            "update sse_stream.offsets set last_heard_at = now()",
            json!({"code": "silent"}),
        ),
        (
            "insert into sse_stream.dead_letters (stream, reason_code, reason, raw)
             values ('shop', 'conflict', 'c', 'x')",
            "delete from sse_stream.dead_letters",
            json!({"code": "dead_letters_open", "count": 1, "tolerated": 0}),
        ),
        (
            "update sse_stream.migrations set checksum = 'x' where owner = 'shop'",
            "update sse_stream.migrations set checksum = (
                 select encode(sha256(convert_to(current_setting('it.schema'), 'utf8')), 'hex'))
             where owner = 'shop'",
            json!({"code": "migration_changed", "owner": "shop", "versions": ["0001 shop"]}),
        ),
        (
            "insert into sse_stream.migrations values ('shop', 9, 'later', 'x')",
            "delete from sse_stream.migrations where version = 9",
            json!({"code": "migration_unknown", "owner": "shop", "versions": ["0009 later"]}),
        ),
        (
            "alter table shop.raw rename to cooked",
            "alter table shop.cooked rename to raw",
            json!({"code": "table_unusable"}),
        ),
        (
            "create table shop.offset as select * from sse_stream.offsets; delete from sse_stream.offsets;
             truncate shop.raw, shop.visits",
            "",
            json!({"code": "offset_missing"}),
        ),
    ] {
        let mut asked = examination(None);
        asked.preset = dense();
        db.run(&format!("set it.schema = {}", literal(SCHEMA))).await;
        db.run(change).await;
        let found = findings(&db, &asked).await;
        assert_eq!(found.len(), 1, "{change}: {found:?}");
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&found[0][name], value, "{change}: {found:?}");
        }
        db.run(undo).await;
    }
}

fn dense() -> Preset {
    Preset::parse(&PRESET.replacen("[stream]", "[stream]\noffsets = \"dense\"", 1)).unwrap()
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_migrated_is_one_finding() {
    let db = Db::new().await;
    db.run("drop schema sse_stream cascade").await;
    assert_eq!(codes(&db, None).await, ["not_migrated"]);
    let db = Db::new().await;
    db.run("delete from sse_stream.migrations where owner = 'sse_stream' and version = 2").await;
    let found = findings(&db, &examination(None)).await;
    assert_eq!(
        found,
        [
            json!({"code": "migration_pending", "owner": "sse_stream", "versions": ["0002 retention"]})
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_without_rights_says_which_and_changes_nothing() {
    let (db, _) = read(2).await;
    let role = format!("doctor_{}", std::process::id());
    db.run(&format!("drop role if exists {role}; create role {role} login password 'weak'")).await;
    let (_, place) = db.url.split_once('@').unwrap();
    let weak =
        ingest::DatabaseConfig::from_url(&format!("postgresql://{role}:weak@{place}")).unwrap();
    let look =
        async || ingest::doctor(&weak, &examination(None)).await.unwrap()["findings"].clone();
    let blind = look().await;
    let rights = |object: &str, right: &str| json!({"code": "right_missing", "object": object, "right": right});
    assert!(blind.as_array().unwrap().contains(&rights("schema sse_stream", "usage")), "{blind}");
    db.run(&format!(
        "grant usage on schema sse_stream, shop to {role};
         grant select on all tables in schema sse_stream to {role};
         grant insert, update on sse_stream.offsets, sse_stream.epochs, sse_stream.gaps,
             sse_stream.dead_letters, sse_stream.runs to {role};
         grant insert, update, delete on sse_stream.waiting to {role}"
    ))
    .await;
    let found = look().await;
    assert_eq!(found[0]["code"], "table_unusable", "{found}");
    assert!(found[0]["message"].as_str().unwrap().contains("right"), "{found}");
    db.run(&format!("revoke update on sse_stream.gaps from {role}")).await;
    assert_eq!(look().await[0], rights("table sse_stream.gaps", "update"));
    db.run(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_back_repeats_events_and_changes_no_row() {
    let (db, source) = read(6).await;
    let before = db.everything().await;
    let plan = ingest::plan_reset(&db.config(), &to(2)).await.unwrap();
    assert_eq!((&plan["from"], &plan["again"], &plan["gap"]), (&json!(6), &json!(4), &Value::Null));
    assert_eq!(db.one(OFFSET).await, "6|6|||1", "a plan moves nothing");

    ingest::reset(&db.config(), &to(2)).await.unwrap();
    // A stream without a mirror gets none by a move.
    assert_eq!(db.one(OFFSET).await, "2|6|||2");
    assert_eq!(
        db.one(
            "select task_id, run_id, first_offset, last_offset, stop_reason, ended_at is not null
                from sse_stream.runs order by id desc limit 1"
        )
        .await,
        "reset|ann@desk|6|2|reset|t"
    );
    let report = land(&db, &source).await;
    assert_eq!((report.first_offset, report.duplicates, report.position), (Some(3), 4, 6));
    assert_eq!(db.everything().await, before);
    assert_eq!(db.one("select count(*) from sse_stream.gaps").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_forward_leaves_a_gap_and_reading_it_after_all_closes_it() {
    let (db, source) = read(4).await;
    source.add(&[
        ("visit", r#"{"visit":5}"#),
        ("visit", r#"{"visit":6}"#),
        ("visit", r#"{"visit":7}"#),
    ]);
    let head =
        |offset, head| Reset { head: Some(head), head_epoch: Some("one".into()), ..to(offset) };
    for (asked, part) in [
        (to(6), "newest is not known"),
        (head(8, 7), "beyond the source's newest (7)"),
        (Reset { head_epoch: Some("two".into()), ..head(6, 7) }, "epoch two"),
        (to(-1), "below 0"),
        (Reset { stream: "shoop".into(), ..to(1) }, "known streams: shop"),
    ] {
        for result in [
            ingest::plan_reset(&db.config(), &asked).await,
            ingest::reset(&db.config(), &asked).await,
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
    assert_eq!(db.one(OFFSET).await, "4|4|||1");

    let gaps = "select epoch, first_missed, last_missed, noticed_by, run_id, repaired_at is null from sse_stream.gaps";
    let plan = ingest::reset(&db.config(), &head(6, 7)).await.unwrap();
    assert_eq!(plan["gap"], json!({"first": 5, "last": 6}));
    assert_eq!(db.list(gaps).await, ["one|5|6|reset|ann@desk|t"]);
    assert_eq!(codes(&db, None).await, ["gaps_open"]);
    let report = land(&db, &source).await;
    assert_eq!((report.first_offset, report.position), (Some(7), 7));

    // Back over it: it stays open until its events have come.
    ingest::reset(&db.config(), &to(4)).await.unwrap();
    assert_eq!(db.list(gaps).await, ["one|5|6|reset|ann@desk|t"]);
    let report = land(&db, &source).await;
    assert_eq!((report.first_offset, report.position), (Some(5), 7));
    assert_eq!(db.list(gaps).await, ["one|5|6|reset|ann@desk|f"]);
    assert_eq!(db.one("select count(*) from shop.visits where visit_id > 4").await, "3");
    assert_eq!(db.one("select count(*) from shop.raw").await, "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_waits_for_nobody_and_trusts_no_old_look() {
    let db = Db::new().await;
    let source = Script::serve(false);
    add(&source, 3);
    let stop = Stop::default();
    let running = tokio::spawn(ingest::run(config(&db, &source), Arc::new(NoHost), stop.clone()));
    eventually("landed", async || db.one("select count(*) from shop.visits").await == "3").await;
    let error = ingest::reset(&db.config(), &to(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetConflict);
    assert!(error.to_string().contains("held by test"), "{error}");
    stop.set();
    running.await.unwrap().unwrap();
    eventually("given up", async || status(&db).await["held"] == false).await;
    let stale = Reset { fence: Some(99), ..to(1) };
    let error = ingest::reset(&db.config(), &stale).await.unwrap_err();
    assert!(error.to_string().contains("since it was shown"), "{error}");
    assert_eq!(db.one("select position, fence from sse_stream.offsets").await, "3|1");
    ingest::reset(&db.config(), &Reset { fence: Some(1), ..to(1) }).await.unwrap();
    assert_eq!(db.one("select position, fence from sse_stream.offsets").await, "1|2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_shows_an_older_writing_is_no_request_after_a_reset() {
    let (db, _) = read(6).await;
    db.run("update sse_stream.offsets set mirrored = 6, previously_mirrored = 4").await;
    // A crash came between recording 6 and writing it: the mirror still shows 4.
    let shown = Reset { mirror: Some("4".into()), ..to(2) };
    assert_eq!(ingest::reset(&db.config(), &shown).await.unwrap()["pending"], Value::Null);
    assert_eq!(db.one(OFFSET).await, "2|6|2|4|2");
    assert_eq!(codes(&db, Some("4")).await, ["rows_above_offset"]);
    // A person's wish is kept, and told.
    let wished = Reset { mirror: Some("1".into()), ..to(3) };
    assert_eq!(ingest::reset(&db.config(), &wished).await.unwrap()["pending"], "1");
    assert_eq!(db.one(OFFSET).await, "3|6|3|2|3");
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_takes_old_runs_and_old_settled_letters_only() {
    let db = Db::new().await;
    db.run(
        "insert into sse_stream.runs (stream, started_at, ended_at)
         select 'shop', now() - d * interval '1 day', now() - d * interval '1 day' from unnest(array[1, 29, 31]) d;
         insert into sse_stream.dead_letters (stream, source_id, reason_code, reason, raw, created_at, state, settled_at)
         select 'shop', s || d, 'conflict', 'c', 'x', now() - interval '1 year', s,
                case when s <> 'open' then now() - d * interval '1 day' end
         from unnest(array[89, 91]) d, unnest(array['open', 'replayed', 'discarded']) s",
    )
    .await;
    let pruned = ingest::prune(&db.config(), 30, 90).await.unwrap();
    let pruned: Vec<(&str, i64)> =
        pruned.iter().map(|each| (each.object_name.as_str(), each.removed)).collect();
    assert_eq!(pruned, [("sse_stream.runs", 1), ("sse_stream.dead_letters", 2)]);
    assert_eq!(
        db.list("select source_id from sse_stream.dead_letters order by 1").await,
        ["discarded89", "open89", "open91", "replayed89"]
    );
    assert_eq!(db.one("select count(*) from sse_stream.runs").await, "2");
    let error = ingest::prune(&db.config(), 0, 90).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}
