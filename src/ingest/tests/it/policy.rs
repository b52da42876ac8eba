//! What bad events mean for a run.

use ingest::{BadEvents, ErrorKind, MaxDeadLetters, Preset, RunConfig};

use crate::support::{Db, PRESET, Script, config, run};

const ORDER: (&str, &str) = ("order", r#"{"order":1,"at":"2026-01-01T00:00:00Z"}"#);
const ITEM: (&str, &str) = ("item", r#"{"item":11,"order":1,"name":"Tea","qty":2}"#);
const OTHER: (&str, &str) = ("item", r#"{"item":11,"order":1,"name":"Cake","qty":2}"#);
const NO_QTY: (&str, &str) = ("item", r#"{"item":12,"order":1,"name":"Tea","qty":null}"#);
const PAID: (&str, &str) = ("paid", r#"{"order":1,"total":12.50}"#);

fn strict(db: &Db, source: &Script, bad_events: BadEvents) -> RunConfig {
    RunConfig { bad_events, ..config(db, source) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_to_fail_keeps_what_came_before_and_nothing_else() {
    // One that is found by decoding, one that only the database finds.
    for bad in [NO_QTY, OTHER] {
        let db = Db::new().await;
        let source = Script::of(&[ORDER, ITEM, bad, PAID]);
        for attempt in 0..2 {
            let error = run(strict(&db, &source, BadEvents::Fail)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadEvent);
            assert!(!error.is_transient());
            let text = error.to_string();
            assert!(text.contains("\"shop\"") && text.contains("id \"3\""), "{attempt}: {text}");
            assert_eq!(db.list("select id from shop.raw order by id").await, ["1", "2"]);
            assert_eq!(db.one("select position from sse_stream.offsets").await, "2");
            assert_eq!(db.one("select total is null from shop.orders").await, "t");
            assert!(db.dead().await.is_empty());
        }
        assert_eq!(
            db.one("select count(*), count(error) from sse_stream.runs where ended_at is not null")
                .await,
            "2|2"
        );
        // With the usual policy the stream goes on where it stood.
        let report = run(config(&db, &source)).await.unwrap();
        assert_eq!((report.events_processed, report.dead_letters), (2, 1));
        assert_eq!(db.one("select total from shop.orders").await, "12.50");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_at_the_very_beginning_moves_nothing() {
    let db = Db::new().await;
    let source = Script::of(&[NO_QTY, ORDER]);
    let error = run(strict(&db, &source, BadEvents::Fail)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadEvent);
    assert_eq!(db.one("select position from sse_stream.offsets").await, "0");
    assert_eq!(db.one("select count(*) from shop.orders").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_dead_letters_fail_the_run_and_keep_what_landed() {
    let db = Db::new().await;
    let source = Script::of(&[ORDER, ITEM, OTHER, NO_QTY, PAID]);
    let limit = |max| BadEvents::KeepUpTo(MaxDeadLetters::Count(max));
    let error = run(strict(&db, &source, limit(1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadEvent);
    assert!(error.to_string().contains("2 dead letters among 5 events"), "{error}");
    assert_eq!(db.dead().await.len(), 2);
    assert_eq!(db.one("select total from shop.orders").await, "12.50");
    assert_eq!(db.one("select position from sse_stream.offsets").await, "5");

    let db = Db::new().await;
    assert_eq!(run(strict(&db, &source, limit(2))).await.unwrap().dead_letters, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_dead_letters_is_looked_at_in_the_end_and_from_a_thousand_events_on() {
    let share = |max| BadEvents::KeepUpTo(MaxDeadLetters::Share(max));
    let source = Script::of(&[ORDER, NO_QTY, ITEM, PAID]);
    let db = Db::new().await;
    assert_eq!(run(strict(&db, &source, share(0.25))).await.unwrap().dead_letters, 1);
    let db = Db::new().await;
    let error = run(strict(&db, &source, share(0.2))).await.unwrap_err();
    assert!(error.to_string().contains("0.2 of all events"), "{error}");
    assert_eq!(db.one("select position from sse_stream.offsets").await, "4");

    let db = Db::new().await;
    let source = Script::of(&vec![NO_QTY; 3000]);
    let mut config = strict(&db, &source, share(0.5));
    config.batch.events = 100;
    config.batch.max_bytes = 20_000;
    run(config).await.unwrap_err();
    let position: u64 = db.one("select position from sse_stream.offsets").await.parse().unwrap();
    assert!((1000..3000).contains(&position), "{position}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_before_a_forbidden_event_is_noted_once_it_lands() {
    let db = Db::new().await;
    let source = Script::serve(true);
    source.add_at(&[(1, ORDER.0, ORDER.1), (4, NO_QTY.0, NO_QTY.1), (6, PAID.0, PAID.1)]);
    let dense = PRESET.replacen("name = \"shop\"", "name = \"shop\"\noffsets = \"dense\"", 1);
    let with = |bad_events| {
        let mut config = strict(&db, &source, bad_events);
        config.preset = Preset::parse(&dense).unwrap();
        run(config)
    };
    assert_eq!(with(BadEvents::Fail).await.unwrap_err().kind(), ErrorKind::BadEvent);
    let gaps = "select first_missed, last_missed from sse_stream.gaps order by 1";
    assert_eq!(db.list(gaps).await, [""; 0]);
    assert_eq!(with(BadEvents::Keep).await.unwrap().gaps, 2);
    assert_eq!(db.list(gaps).await, ["2|3", "5|5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_gave_up_stays_so_and_what_was_replayed_is_open_again() {
    let db = Db::new().await;
    let source = Script::of(&[ORDER, ITEM, OTHER, NO_QTY, ("nonsense", "{}")]);
    assert_eq!(run(config(&db, &source)).await.unwrap().dead_letters, 3);
    db.run(
        "update sse_stream.dead_letters set state = 'replayed', raw_landed = true where event_offset = 3;
         update sse_stream.dead_letters set state = 'discarded' where event_offset = 4;
         update sse_stream.offsets set position = 0",
    )
    .await;
    assert_eq!(run(config(&db, &source)).await.unwrap().dead_letters, 3);
    let letters =
        "select event_offset, state, attempts, raw_landed from sse_stream.dead_letters order by 1";
    assert_eq!(db.list(letters).await, ["3|open|2|t", "4|discarded|2|f", "5|open|2|f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_to_fail_also_tells_of_what_waited_in_vain() {
    let db = Db::new().await;
    let source = Script::of(&[ITEM]);
    assert_eq!(run(config(&db, &source)).await.unwrap().waiting, 1);
    db.run("update sse_stream.waiting set first_seen_at = now() - interval '2 hours'").await;
    let error = run(strict(&db, &source, BadEvents::Fail)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadEvent);
    assert!(error.to_string().contains("waited for a parent"), "{error}");
    assert_eq!(db.dead().await, ["1|missing_parent|1"]);
}
