//! Several writers: each with its session, transaction and offset row, and together one stream.

use std::sync::Arc;
use std::time::Duration;

use ingest::{NoHost, RunConfig, Stop};

use crate::support::{Db, PRESET, Script, config, eventually, run, split_preset};

/// Orders with two items and a payment each.
fn feed(orders: std::ops::Range<u32>) -> Vec<(&'static str, String)> {
    orders
        .flat_map(|n| {
            let item =
                |k: u32| format!(r#"{{"order":{n},"item":{},"name":"n{k}","qty":1}}"#, n * 2 + k);
            [
                ("order", format!(r#"{{"order":{n},"at":"2026-01-01T00:00:00Z"}}"#)),
                ("item", item(0)),
                ("item", item(1)),
                ("paid", format!(r#"{{"order":{n},"total":1.50}}"#)),
            ]
        })
        .collect()
}

fn add(source: &Script, feed: &[(&'static str, String)]) {
    let events: Vec<(&str, &str)> =
        feed.iter().map(|(event, data)| (*event, data.as_str())).collect();
    source.add(&events);
}

fn with(db: &Db, source: &Script, writers: usize) -> RunConfig {
    let mut config = config(db, source);
    config.preset = split_preset();
    config.writers = writers;
    config.batch.events = 20;
    config.batch.max_bytes = 20_000;
    config
}

/// Every table holds exactly what the orders below `count` bring.
async fn is_whole(db: &Db, count: u32) {
    let found = db
        .one(
            "select (select count(*) from shop.raw), (select count(distinct id) from shop.raw),
                    (select count(*) from shop.orders where total = 1.5),
                    (select count(*) from shop.orders), (select count(*) from shop.items),
                    (select count(*) from sse_stream.dead_letters), (select count(*) from sse_stream.waiting)",
        )
        .await;
    assert_eq!(found, format!("{0}|{0}|{count}|{count}|{1}|0|0", count * 4, count * 2));
}

const ROWS: &str = "select writer, position from sse_stream.offsets order by 1";

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_shared_out_and_every_row_ends_where_the_stream_does() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &feed(0..200));
    let report = run(with(&db, &source, 4)).await.unwrap();
    assert_eq!((report.events_processed, report.duplicates), (800, 0));
    assert_eq!(
        (report.first_offset, report.last_offset, report.position),
        (Some(1), Some(800), 800)
    );
    is_whole(&db, 200).await;
    assert_eq!(db.list(ROWS).await, ["0|800", "1|800", "2|800", "3|800"]);
    // More than one of them had a share: a transaction writes the rows of one writer.
    let sessions = "select count(distinct xmin::text) > 4 from shop.items";
    assert_eq!(db.one(sessions).await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_writers_goes_on_from_the_smallest_position() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &feed(0..50));
    run(with(&db, &source, 2)).await.unwrap();
    // As if the second writer had died early: some of what is above its position has landed, some
    // of it has not.
    db.run(
        "update sse_stream.offsets set position = 40, high_water = 40, highest = 40 where writer = 1;
         delete from shop.items where order_id in (30, 31); delete from shop.orders where order_id in (30, 31);
         delete from shop.raw where (data->>'order')::integer in (30, 31)",
    )
    .await;
    let marks = "select writers, position, high_water, highest from sse_stream.streams";
    assert_eq!(db.one(marks).await, "2|40|40|200");
    add(&source, &feed(50..60));
    for (writers, events, duplicates) in [(3, 200, 152), (1, 0, 0), (4, 0, 0)] {
        let report = run(with(&db, &source, writers)).await.unwrap();
        assert_eq!((report.events_processed, report.duplicates), (events, duplicates), "{writers}");
        is_whole(&db, 60).await;
        assert_eq!(db.one(marks).await, format!("{writers}|240|240|240"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_killed_under_load_lose_and_double_nothing() {
    for writers in [2, 4] {
        let db = Db::new().await;
        let source = Script::serve(true);
        add(&source, &feed(0..1500));
        let running = tokio::spawn(ingest::run(
            with(&db, &source, writers),
            Arc::new(NoHost),
            Stop::default(),
        ));
        for seed in 0..6 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            // Any of the sessions, sometimes several.
            db.run(&format!(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and application_name = 'sse_stream'
                   and exists (select from sse_stream.offsets where position > 0)
                   and (pid + {seed}) % 2 = 0"
            ))
            .await;
        }
        let report = running.await.unwrap().unwrap();
        assert_eq!(report.events_processed, 6000);
        is_whole(&db, 1500).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_dies_anywhere_is_taken_up_by_any_number_of_writers() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &feed(0..1000));
    for (attempt, writers) in [2, 4, 1, 3, 2].into_iter().enumerate() {
        let config = with(&db, &source, writers);
        let running = tokio::spawn(ingest::run(config, Arc::new(NoHost), Stop::default()));
        if attempt < 4 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            running.abort();
            let _ = running.await;
        } else {
            running.await.unwrap().unwrap();
        }
    }
    is_whole(&db, 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_moves_all_writers_and_the_old_one_is_still_known() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &feed(0..30));
    run(with(&db, &source, 3)).await.unwrap();
    let other = feed(100..110);
    let other: Vec<(&str, &str)> = other.iter().map(|(t, d)| (*t, d.as_str())).collect();
    source.begin("two", &other);
    let report = run(with(&db, &source, 3)).await.unwrap();
    assert_eq!((report.epoch.as_deref(), report.position, report.duplicates), (Some("two"), 40, 0));
    let rows = "select epoch, position, high_water, highest from sse_stream.offsets";
    assert_eq!(db.list(rows).await, ["two|40|40|40"; 3]);

    let first = feed(0..30);
    let first: Vec<(&str, &str)> = first.iter().map(|(t, d)| (*t, d.as_str())).collect();
    source.begin("one", &first);
    let report = run(with(&db, &source, 2)).await.unwrap();
    assert_eq!((report.epoch.as_deref(), report.duplicates), (Some("one"), 120));
    assert_eq!(db.list(rows).await, ["one|120|120|120"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_without_events_does_not_hold_the_stream_back() {
    let db = Db::new().await;
    let source = Script::serve(false);
    // All of one order: the other writers get nothing.
    add(&source, &feed(7..8));
    let stop = Stop::default();
    let running = tokio::spawn(ingest::run(with(&db, &source, 3), Arc::new(NoHost), stop.clone()));
    eventually("all stand at the end", async || db.list(ROWS).await == ["0|4", "1|4", "2|4"]).await;
    stop.set();
    assert_eq!(running.await.unwrap().unwrap().position, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_look_at_waiting_events_does_not_keep_another_writer_from_landing_them() {
    let db = Db::new().await;
    let source = Script::serve(true);
    let (parents, children): (Vec<_>, Vec<_>) =
        feed(0..300).into_iter().partition(|(event, _)| *event == "order");
    add(&source, &children);
    assert_eq!(run(with(&db, &source, 4)).await.unwrap().waiting, 900);
    add(&source, &parents);
    // This run begins with that look.
    assert_eq!(run(with(&db, &source, 4)).await.unwrap().resumed, 900);
    is_whole(&db, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_noted_once_and_repaired_by_whichever_writer_brings_them() {
    let db = Db::new().await;
    let source = Script::serve(true);
    let known = feed(0..20);
    let some = |range: std::ops::Range<usize>| -> Vec<(u64, &str, &str)> {
        range.map(|at| (at as u64 + 1, known[at].0, known[at].1.as_str())).collect()
    };
    source.add_at(&some(0..20));
    source.add_at(&some(60..80));
    let dense = || {
        let mut config = with(&db, &source, 4);
        config.preset.stream.offsets = ingest::Offsets::Dense;
        config
    };
    let report = run(dense()).await.unwrap();
    assert_eq!((report.gaps, report.position), (1, 80));
    let open = "select first_missed, last_missed from sse_stream.gaps where repaired_at is null order by 1";
    assert_eq!(db.list(open).await, ["21|60"]);
    // The source has found some of them again.
    source.begin("one", &[]);
    source.add_at(&some(0..50));
    source.add_at(&some(60..80));
    db.run("update sse_stream.offsets set position = 0").await;
    let report = run(dense()).await.unwrap();
    assert_eq!((report.duplicates, report.gaps), (40, 0));
    assert_eq!(db.list(open).await, ["51|60"]);
    source.begin("one", &[]);
    source.add_at(&some(0..80));
    db.run("update sse_stream.offsets set position = 0").await;
    let report = run(dense()).await.unwrap();
    assert_eq!(report.duplicates, 70);
    assert_eq!(db.list(open).await, [""; 0]);
    is_whole(&db, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_whose_events_depend_on_each_other_have_one_writer() {
    let db = Db::new().await;
    let source = Script::of(&[("visit", r#"{"visit":1}"#)]);
    let mut config = config(&db, &source);
    config.preset = ingest::Preset::parse(PRESET).unwrap();
    config.writers = 4;
    run(config).await.unwrap();
    assert_eq!(db.list(ROWS).await, ["0|1"]);
    for (what, preset) in [
        ("no split", PRESET.split_once("    [[route]]\n    event = \"visit\"").unwrap().0.to_owned()),
        (
            "an upsert by another key",
            PRESET.replacen("name = \"shop\"", "name = \"shop\"\nsplit = \"/order\"", 1).replacen(
                "    [[route]]\n    event = \"visit\"\n    table = \"shop.visits\"\n    mode = \"append\"\n    columns = { visit_id = \"/visit\", seen = \"$received_at\" }\n",
                "",
                1,
            ),
        ),
    ] {
        let source = Script::of(&[("stock", r#"{"sku":"a","level":1}"#)]);
        let mut config = crate::support::config(&db, &source);
        config.preset = ingest::Preset::parse(&preset).unwrap();
        config.stream = Some(what.into());
        config.writers = 4;
        run(config).await.unwrap();
        let rows = format!("select count(*) from sse_stream.offsets where stream = '{what}'");
        assert_eq!(db.one(&rows).await, "1", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_fails_a_run_fails_it_once_and_closes_its_books() {
    let db = Db::new().await;
    let source = Script::serve(true);
    let known = feed(0..40);
    let some = |range: std::ops::Range<usize>| -> Vec<(u64, &str, &str)> {
        range.map(|at| (at as u64 + 1, known[at].0, known[at].1.as_str())).collect()
    };
    source.add_at(&some(0..40));
    source.add_at(&[(41, "order", "{")]);
    source.add_at(&some(60..160));
    let strict = |writers, gaps: bool| {
        let mut config = with(&db, &source, writers);
        config.preset.stream.offsets = ingest::Offsets::Dense;
        if gaps {
            config.gap_policy = ingest::GapPolicy::Fail;
        } else {
            config.bad_events = ingest::BadEvents::KeepUpTo(ingest::MaxDeadLetters::Count(0));
        }
        config
    };
    for (stream, gaps) in [("gaps", true), ("letters", false)] {
        for (attempt, writers) in [4, 3, 4].into_iter().enumerate() {
            let mut config = strict(writers, gaps);
            config.stream = Some(stream.into());
            let ended = run(config).await;
            match (attempt, ended) {
                (0, Err(error)) => assert_eq!(error.kind(), ingest::ErrorKind::BadEvent, "{error}"),
                (0, Ok(_)) => panic!("{stream}: the policy was passed over"),
                (_, ended) => drop(ended.unwrap()),
            }
            let open = "select count(*) from sse_stream.runs where ended_at is null";
            assert_eq!(db.one(open).await, "0");
        }
        let marks = format!(
            "select position, high_water, highest from sse_stream.streams where stream = '{stream}'"
        );
        assert_eq!(db.one(&marks).await, "160|160|160");
    }
}
