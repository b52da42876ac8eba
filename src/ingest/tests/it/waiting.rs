//! Children that come before their parents.

use std::time::Duration;

use ingest::{Preset, RunConfig};

use crate::support::{Db, PRESET, Script, config, land, run};

const ORDER: (&str, &str) = ("order", r#"{"order":1,"at":"2026-01-01T00:00:00Z"}"#);
const ITEM: (&str, &str) = ("item", r#"{"item":11,"order":1,"name":"Tea","qty":2}"#);
const PAID: (&str, &str) = ("paid", r#"{"order":1,"total":12.50}"#);

/// A run with a preset of its own.
fn with_preset(db: &Db, source: &Script, preset: &str) -> RunConfig {
    let mut config = config(db, source);
    config.preset = Preset::parse(preset).unwrap();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_waits_for_its_parent_and_lands_with_it_in_a_later_run() {
    let db = Db::new().await;
    let source = Script::of(&[ITEM, PAID]);
    let report = land(&db, &source).await;
    assert_eq!((report.events_processed, report.waiting, report.dead_letters), (2, 2, 0));
    // The raw rows and the offset have moved on.
    assert_eq!(db.list("select id from shop.raw order by 1").await, ["1", "2"]);
    assert_eq!(db.one("select position from sse_stream.offsets").await, "2");
    assert_eq!(db.waiting().await, ["1|shop.orders|order_id=1", "2|shop.orders|order_id=1"]);
    assert_eq!(
        db.one("select stream, epoch, source_id, event_type, convert_from(raw, 'UTF8'), run_id, first_seen_at > now() - interval '1 minute' from sse_stream.waiting where event_offset = 1").await,
        format!("shop|one|1|item|{}|r1|t", ITEM.1)
    );

    source.add(&[ORDER]);
    let report = land(&db, &source).await;
    assert_eq!((report.events_processed, report.waiting, report.resumed), (1, 0, 2));
    assert_eq!((report.rows["shop.items"], report.rows["shop.orders"]), (1, 2));
    assert_eq!(db.one("select total from shop.orders").await, "12.50");
    assert_eq!(db.one("select item_id, name from shop.items").await, "11|Tea");
    assert!(db.waiting().await.is_empty() && db.dead().await.is_empty());
    assert_eq!(db.one("select count(*) from shop.raw").await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_lands_in_the_batch_that_brings_the_parent() {
    let db = Db::new().await;
    let source = Script::serve(false);
    source.add(&[ITEM]);
    let mut config = config(&db, &source);
    config.limits.max_events = Some(2);
    let running = tokio::spawn(run(config));
    crate::support::eventually("the item waits", async || !db.waiting().await.is_empty()).await;
    source.add(&[ORDER]);
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.waiting, report.resumed), (1, 1));
    assert_eq!(db.one("select count(*) from shop.items").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_event_that_is_read_again_still_waits_once() {
    let db = Db::new().await;
    let source = Script::of(&[ITEM]);
    land(&db, &source).await;
    db.run("update sse_stream.offsets set position = 0").await;
    let report = land(&db, &source).await;
    assert_eq!((report.waiting, report.duplicates), (0, 1));
    assert_eq!(db.waiting().await.len(), 1);
    // The same fact under another offset waits beside it; together they land once.
    source.add(&[ITEM]);
    land(&db, &source).await;
    assert_eq!(db.waiting().await.len(), 2);
    source.add(&[ORDER]);
    let report = land(&db, &source).await;
    assert_eq!((report.resumed, report.rows["shop.items"]), (2, 1));
    assert!(db.waiting().await.is_empty() && db.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_somebody_else_brings_is_found_by_the_next_run() {
    let db = Db::new().await;
    let source = Script::of(&[ITEM]);
    land(&db, &source).await;
    db.run("insert into shop.orders (order_id, placed_at) values (1, now())").await;
    let report = land(&db, &source).await;
    assert_eq!((report.events_processed, report.resumed), (0, 1));
    assert_eq!(db.one("select count(*) from shop.items").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_too_long_becomes_a_dead_letter() {
    let db = Db::new().await;
    let source = Script::of(&[ITEM]);
    land(&db, &source).await;
    db.run("update sse_stream.waiting set first_seen_at = now() - interval '2 hours'").await;
    let mut config = config(&db, &source);
    config.max_wait = Duration::from_secs(2 * 3600 - 60);
    let report = run(config).await.unwrap();
    assert_eq!((report.events_processed, report.dead_letters), (0, 1));
    assert!(db.waiting().await.is_empty());
    let letter = "select event_offset, source_id, event_type, reason_code, raw_landed, state,
        convert_from(raw, 'UTF8'), reason from sse_stream.dead_letters";
    let letter = db.one(letter).await;
    let start = format!(
        "1|1|item|missing_parent|t|open|{}|shop.orders has no row with order_id=1; the event waited for it since",
        ITEM.1
    );
    assert!(letter.starts_with(&start), "{letter}");
}

#[tokio::test(flavor = "multi_thread")]
async fn children_of_children_follow() {
    let db = Db::new().await;
    db.run(
        "create table shop.notes (note_id integer primary key, item_id integer not null references shop.items)",
    )
    .await;
    let preset = format!(
        "{PRESET}\n[[route]]\nevent = \"note\"\ntable = \"shop.notes\"\nmode = \"insert\"\nkey = [\"note_id\"]\n\
         parent = \"shop.items\"\ncolumns = {{ note_id = \"/note\", item_id = \"/item\" }}\n"
    );
    let note = |n: u32, item: u32| format!(r#"{{"note":{n},"item":{item}}}"#);
    let source = Script::of(&[("note", &note(1, 11)), ("note", &note(2, 12)), ITEM, PAID]);
    let report = run(with_preset(&db, &source, &preset)).await.unwrap();
    // The note finds its item in the batch, but the item itself waits.
    assert_eq!(report.waiting, 4);
    source.add(&[ORDER]);
    let report = run(with_preset(&db, &source, &preset)).await.unwrap();
    assert_eq!(report.resumed, 3);
    assert_eq!(db.list("select note_id, item_id from shop.notes").await, ["1|11"]);
    assert_eq!(db.waiting().await, ["2|shop.items|item_id=12"]);

    // The same when somebody else brings the first of the line.
    let db = Db::new().await;
    db.run(
        "create table shop.notes (note_id integer primary key, item_id integer not null references shop.items)",
    )
    .await;
    let source = Script::of(&[("note", &note(1, 11)), ITEM]);
    run(with_preset(&db, &source, &preset)).await.unwrap();
    db.run("insert into shop.orders (order_id, placed_at) values (1, now())").await;
    let report = run(with_preset(&db, &source, &preset)).await.unwrap();
    assert_eq!(report.resumed, 2);
    assert!(db.waiting().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_key_land_once_although_their_event_waited() {
    let db = Db::new().await;
    let preset = format!(
        "{PRESET}\n[[route]]\nevent = \"item\"\ntable = \"shop.visits\"\nmode = \"append\"\ncolumns = {{ visit_id = \"/item\" }}\n"
    );
    let source = Script::of(&[ITEM]);
    run(with_preset(&db, &source, &preset)).await.unwrap();
    assert_eq!(db.one("select count(*) from shop.visits").await, "0");
    source.add(&[ORDER]);
    for _ in 0..2 {
        run(with_preset(&db, &source, &preset)).await.unwrap();
        assert_eq!(db.list("select visit_id from shop.visits").await, ["11"]);
        db.run("update sse_stream.offsets set position = 0").await;
    }
}

/// Refused by a trigger, which only an insert can find out.
const NONE: (&str, &str) = ("item", r#"{"item":12,"order":1,"name":"none","qty":1}"#);
const REFUSE_NONE: &str = "
    create function shop.refuse() returns trigger language plpgsql as $$ begin
        if new.name = 'none' then raise exception 'no such thing'; end if; return new; end $$;
    create trigger items_refuse before insert on shop.items
        for each row execute function shop.refuse()";

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_event_that_turns_out_bad_costs_only_itself() {
    let db = Db::new().await;
    db.run(REFUSE_NONE).await;
    let other = ("item", r#"{"item":11,"order":1,"name":"Cake","qty":1}"#);
    let source = Script::of(&[ITEM, NONE, other]);
    land(&db, &source).await;
    source.add(&[ORDER]);
    let report = land(&db, &source).await;
    assert_eq!((report.resumed, report.dead_letters), (1, 2));
    assert_eq!(db.list("select item_id, name from shop.items").await, ["11|Tea"]);
    assert_eq!(db.dead().await, ["2|constraint|1", "3|conflict|1"]);
    assert_eq!(db.one("select bool_and(raw_landed) from sse_stream.dead_letters").await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_route_is_gone_while_it_waits_is_not_lost() {
    let db = Db::new().await;
    let source = Script::of(&[ITEM]);
    land(&db, &source).await;
    let without = PRESET.replace("event = \"item\"", "event = \"thing\"");
    run(with_preset(&db, &source, &without)).await.unwrap();
    assert_eq!(db.dead().await, ["1|unknown_type|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_wait_and_land_in_pages() {
    let db = Db::new().await;
    let items: Vec<String> =
        (0..2500).map(|n| format!(r#"{{"item":{n},"order":1,"name":"Tea","qty":2}}"#)).collect();
    let events: Vec<(&str, &str)> = items.iter().map(|item| ("item", item.as_str())).collect();
    let source = Script::of(&events);
    assert_eq!(land(&db, &source).await.waiting, 2500);
    source.add(&[ORDER]);
    assert_eq!(land(&db, &source).await.resumed, 2500);
    assert_eq!(db.one("select count(*) from shop.items").await, "2500");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_was_parted_from_its_parent_still_lands_with_the_batch() {
    let db = Db::new().await;
    db.run(REFUSE_NONE).await;
    // The batch is halved to find the bad one; the halves land one after the other.
    let report = land(&db, &Script::of(&[ITEM, NONE, ORDER])).await;
    assert_eq!((report.events_processed, report.dead_letters), (3, 1));
    assert_eq!((report.waiting, report.resumed), (2, 1));
    assert_eq!(db.list("select item_id from shop.items").await, ["11"]);
    assert!(db.waiting().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_in_two_epochs_is_filed_under_its_own() {
    let db = Db::new().await;
    db.run(REFUSE_NONE).await;
    let source = Script::of(&[NONE]);
    land(&db, &source).await;
    source.begin("two", &[NONE, ITEM]);
    assert_eq!(land(&db, &source).await.waiting, 2);
    source.add(&[ORDER]);
    let report = land(&db, &source).await;
    assert_eq!((report.resumed, report.dead_letters), (1, 2));
    let letters = "select epoch, event_offset, reason_code from sse_stream.dead_letters order by 1";
    assert_eq!(db.list(letters).await, ["one|1|constraint", "two|1|constraint"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_row_without_a_key_stands_once_although_its_event_waited() {
    let db = Db::new().await;
    let preset = format!(
        "{PRESET}\n[[route]]\nevent = \"*\"\ntable = \"shop.visits\"\nmode = \"append\"\ncolumns = {{ visit_id = \"$id\" }}\n"
    );
    let source = Script::of(&[ITEM]);
    assert_eq!(run(with_preset(&db, &source, &preset)).await.unwrap().waiting, 1);
    source.add(&[ORDER]);
    assert_eq!(run(with_preset(&db, &source, &preset)).await.unwrap().resumed, 1);
    assert_eq!(db.list("select visit_id from shop.visits order by 1").await, ["1", "2"]);
}
