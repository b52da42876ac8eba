//! What lands, what is a duplicate, what is a dead letter, and that nobody pays for a neighbour.

use ingest::{ErrorKind, Preset, UnknownEvents};

use crate::support::{Db, Script, config, eventually, land, run};

const ORDER: (&str, &str) = ("order", r#"{"order":1,"at":"2026-01-01T00:00:00Z"}"#);
const ITEM: (&str, &str) = ("item", r#"{"item":11,"order":1,"name":"Tea","qty":2}"#);
const PAID: (&str, &str) = ("paid", r#"{"order":1,"total":12.50}"#);

fn script(events: &[(&str, &str)]) -> Script {
    Script::of(events)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_lands_and_the_offset_moves_with_it() {
    let db = Db::new().await;
    let source = script(&[
        ORDER,
        ITEM,
        PAID,
        ("visit", r#"{"visit":5}"#),
        ("stock", r#"{"sku":"a","level":3}"#),
        ("stock", r#"{"sku":"a","level":2}"#),
    ]);
    let report = land(&db, &source).await;
    assert_eq!((report.events_processed, report.dead_letters, report.duplicates), (6, 0, 0));
    assert_eq!((report.first_offset, report.last_offset, report.position), (Some(1), Some(6), 6));
    assert_eq!(report.stop_reason.as_str(), "end_of_stream");
    assert_eq!(report.rows["shop.raw"], 6);
    assert_eq!(
        db.one("select order_id, placed_at, total from shop.orders").await,
        "1|2026-01-01 00:00:00+00|12.50"
    );
    assert_eq!(db.one("select item_id, order_id, name, qty from shop.items").await, "11|1|Tea|2");
    assert_eq!(db.one("select visit_id, seen is not null from shop.visits").await, "5|t");
    assert_eq!(db.one("select sku, level from shop.stock").await, "a|2");
    assert_eq!(
        db.one("select epoch, position, high_water from sse_stream.offsets").await,
        "one|6|6"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_paid_in_the_same_batch_is_one_insert() {
    let db = Db::new().await;
    land(&db, &script(&[ORDER, PAID])).await;
    assert_eq!(db.list("select what from shop.changes").await, ["INSERT orders"]);
    assert_eq!(db.one("select total from shop.orders").await, "12.50");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_in_a_later_run_completes_the_order() {
    let db = Db::new().await;
    let source = script(&[ORDER]);
    land(&db, &source).await;
    source.add(&[PAID]);
    let report = land(&db, &source).await;
    assert_eq!(report.rows["shop.orders"], 1);
    assert_eq!(db.one("select total from shop.orders").await, "12.50");
    assert_eq!(
        db.list("select what from shop.changes order by id").await,
        ["INSERT orders", "UPDATE orders"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repetitions_and_replays_change_nothing() {
    let db = Db::new().await;
    let source = script(&[
        ORDER,
        ITEM,
        PAID,
        ("visit", r#"{"visit":5}"#),
        ("stock", r#"{"sku":"a","level":3}"#),
    ]);
    land(&db, &source).await;
    let before = db.everything().await;
    db.run("update sse_stream.offsets set position = 0").await;
    let report = land(&db, &source).await;
    assert_eq!((report.events_processed, report.duplicates, report.dead_letters), (5, 5, 0));
    assert_eq!(report.rows.values().sum::<u64>(), 0);
    assert_eq!(db.everything().await, before);
    assert_eq!(db.one("select position, high_water from sse_stream.offsets").await, "5|5");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_sends_again_in_the_same_run_lands_once() {
    let db = Db::new().await;
    let source = Script::serve(false);
    let visit = |n| format!("id: {n}\nevent: visit\ndata: {{\"visit\":{n}}}\n\n");
    let first = [("visit", r#"{"visit":1}"#), ("visit", r#"{"visit":2}"#)];
    source.add_then(&first, &[visit(1), visit(2), visit(3)].concat());
    let mut config = config(&db, &source);
    config.batch.events = 1;
    config.batch.max_bytes = 1;
    config.limits.max_events = Some(5);
    let report = run(config).await.unwrap();
    assert_eq!((report.duplicates, report.dead_letters, report.position), (2, 0, 3));
    assert_eq!(db.list("select visit_id from shop.visits order by 1").await, ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_ends_early_brings_no_old_value_back() {
    let db = Db::new().await;
    let level = |n| format!(r#"{{"sku":"a","level":{n}}}"#);
    let (old, new) = (level(3), level(2));
    let source = script(&[("stock", &old), ("stock", &new)]);
    land(&db, &source).await;
    db.run("update sse_stream.offsets set position = 0").await;
    let mut config = config(&db, &source);
    config.limits.max_events = Some(1);
    assert_eq!(run(config).await.unwrap().duplicates, 1);
    assert_eq!(db.one("select level from shop.stock").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_fact_twice_in_one_batch_lands_once() {
    let db = Db::new().await;
    // Other offsets, so the raw rows differ; the facts are the same, once with other white space.
    let report = land(
        &db,
        &script(&[
            ORDER,
            ORDER,
            ITEM,
            ("item", r#"{ "item":11, "order":1, "name":"Tea", "qty":2 }"#),
            PAID,
            PAID,
        ]),
    )
    .await;
    assert_eq!((report.events_processed, report.dead_letters), (6, 0));
    assert_eq!(report.rows["shop.orders"], 1);
    assert_eq!(report.rows["shop.items"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_with_other_content_is_a_conflict_within_and_across_batches() {
    let db = Db::new().await;
    let other = ("order", r#"{"order":1,"at":"2026-02-02T00:00:00Z"}"#);
    let dearer = ("paid", r#"{"order":1,"total":99.00}"#);
    let source = script(&[ORDER, other, PAID, dearer]);
    let report = land(&db, &source).await;
    assert_eq!(report.dead_letters, 2);
    assert_eq!(db.dead().await, ["2|conflict|1", "4|conflict|1"]);
    source.add(&[other]);
    land(&db, &source).await;
    assert_eq!(db.dead().await, ["2|conflict|1", "4|conflict|1", "5|conflict|1"]);
    assert_eq!(
        db.one("select placed_at, total from shop.orders").await,
        "2026-01-01 00:00:00+00|12.50"
    );
    // A dead event leaves no raw row either.
    assert_eq!(db.list("select id from shop.raw order by id").await, ["1", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_history_under_the_same_offset_is_a_conflict() {
    let db = Db::new().await;
    let source = script(&[ORDER]);
    land(&db, &source).await;
    db.run("update sse_stream.offsets set position = 0").await;
    source.begin("one", &[("order", r#"{"order":2,"at":"2026-01-01T00:00:00Z"}"#)]);
    let report = land(&db, &source).await;
    assert_eq!(report.dead_letters, 1);
    assert_eq!(db.one("select order_id from shop.orders").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_event_is_kept_and_explained_and_costs_no_neighbour() {
    let db = Db::new().await;
    let bad = [
        ("item", r#"{"item":1,"#, "not_json", "not JSON"),
        ("item", r#"{"item":1,"order":1,"qty":1}"#, "missing_field", "\"name\""),
        ("item", r#"{"item":1,"order":1,"name":null,"qty":1}"#, "missing_field", "/name"),
        ("item", r#"{"item":"x","order":1,"name":"n","qty":1}"#, "wrong_type", "got a string"),
        ("item", r#"{"item":1,"order":1,"name":"n","qty":70000}"#, "out_of_range", "\"qty\""),
        ("item", r#"{"item":1,"order":1,"name":"n","qty":0}"#, "out_of_range", "items_qty_check"),
        ("item", r#"{"item":1,"order":1,"name":"a\u0000b","qty":1}"#, "nul_character", "u0000"),
        ("paid", r#"{"order":1,"total":1e400}"#, "out_of_range", "\"total\""),
        ("paid", r#"{"order":1,"total":1.005}"#, "out_of_range", "decimals"),
        ("paid", r#"{"order":1,"total":1234567.00}"#, "out_of_range", "precision"),
        ("nonsense", r"{}", "unknown_type", "nonsense"),
        ("visit", r#"{"visit":1,"x":"\ud800"}"#, "wrong_type", "shop"),
    ];
    let mut events = vec![ORDER];
    let items: Vec<String> = (0..200)
        .map(|n| format!(r#"{{"item":{},"order":1,"name":"n","qty":1}}"#, 100 + n))
        .collect();
    for (index, item) in items.iter().enumerate() {
        events.push(("item", item));
        if let Some((event, data, ..)) = bad.get(index / 10).filter(|_| index % 10 == 3) {
            events.push((event, data));
        }
    }
    let report = land(&db, &script(&events)).await;
    assert_eq!(report.events_processed, 201 + bad.len() as u64);
    assert_eq!(report.dead_letters, bad.len() as u64);
    assert_eq!(db.one("select count(*) from shop.items").await, "200");
    let kept = db
        .list("select reason_code, convert_from(raw, 'UTF8') as raw, reason, run_id from sse_stream.dead_letters order by event_offset")
        .await;
    for ((_, data, code, part), row) in bad.iter().zip(&kept) {
        let (found, _) = row.split_once('|').unwrap();
        assert_eq!(found, *code, "{row}");
        assert!(row.contains(data) && row.ends_with("|r1"), "{row}");
        assert!(row.contains(part) || *code == "wrong_type", "{row} does not mention {part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_event_seen_again_is_one_letter_with_two_attempts() {
    let db = Db::new().await;
    let source = script(&[("item", r#"{"item":1,"order":1,"name":"n","qty":"many"}"#)]);
    land(&db, &source).await;
    db.run("update sse_stream.offsets set position = 0").await;
    land(&db, &source).await;
    assert_eq!(db.dead().await, ["1|wrong_type|2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_an_id_are_kept_once_however_often_they_come() {
    let db = Db::new().await;
    let source = Script::serve(true);
    source.add(&[("visit", r#"{"visit":1}"#)]);
    source.add_bare("event: visit\ndata: {\"visit\":9}\n\n");
    for _ in 0..2 {
        land(&db, &source).await;
        db.run("update sse_stream.offsets set position = 0").await;
    }
    assert_eq!(db.dead().await, ["|missing_id|2"]);
    assert_eq!(db.one("select count(*) from shop.visits").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_may_stand_before_its_parent_in_one_batch() {
    let db = Db::new().await;
    let report = land(&db, &script(&[ITEM, PAID, ORDER])).await;
    assert_eq!(report.dead_letters, 0);
    assert_eq!(db.one("select total from shop.orders").await, "12.50");
}

#[tokio::test(flavor = "multi_thread")]
async fn children_of_a_dead_parent_wait_for_it() {
    let db = Db::new().await;
    land(&db, &script(&[("order", r#"{"order":1,"at":"yesterday"}"#), ITEM])).await;
    assert_eq!(db.dead().await, ["1|wrong_type|1"]);
    assert_eq!(db.waiting().await, ["2|shop.orders|order_id=1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_types_follow_the_policy() {
    for (policy, raw, dead) in [
        (UnknownEvents::DeadLetter, "0", 1),
        (UnknownEvents::RawOnly, "1", 0),
        (UnknownEvents::Ignore, "0", 0),
    ] {
        let db = Db::new().await;
        let source = script(&[("other", r#"{"a":1}"#)]);
        let mut config = config(&db, &source);
        config.unknown_events = policy;
        let report = run(config).await.unwrap();
        assert_eq!((report.events_processed, report.dead_letters), (1, dead));
        assert_eq!(db.one("select count(*) from shop.raw").await, raw);
        assert_eq!(db.one("select position from sse_stream.offsets").await, "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_another_session_committed_in_between_is_compared_not_lost() {
    // The key exists already, written by somebody else with the same content.
    let db = Db::new().await;
    db.run("insert into shop.orders (order_id, placed_at) values (1, '2026-01-01T00:00:00Z')")
        .await;
    let report = land(&db, &script(&[ORDER, ITEM])).await;
    assert_eq!(
        (report.dead_letters, report.rows["shop.raw"], report.rows["shop.items"]),
        (0, 2, 1)
    );
}

const TWO_PART_KEYS: &str = "
    create table shop.visitors (shop integer, number integer, primary key (shop, number));
    create table shop.purchases (
        id integer primary key, of_shop integer, of_number TYPE,
        foreign key (of_shop, of_number) references shop.visitors (shop, number)
    )";

/// The key is written the other way round than the foreign key.
const TWO_PART_PRESET: &str = r#"
    [stream]
    name = "two"
    [[route]]
    event = "visitor"
    table = "shop.visitors"
    mode = "insert"
    key = ["number", "shop"]
    columns = { shop = "/shop", number = "/number" }
    [[route]]
    event = "purchase"
    table = "shop.purchases"
    mode = "insert"
    key = ["id"]
    parent = "shop.visitors"
    columns = { id = "/id", of_shop = "/shop", of_number = "/number" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_of_the_same_batch_is_found_by_a_key_of_two_columns() {
    let db = Db::new().await;
    db.run(&TWO_PART_KEYS.replace("TYPE", "integer")).await;
    let source = script(&[
        ("visitor", r#"{"shop":1,"number":2}"#),
        ("purchase", r#"{"id":5,"shop":1,"number":2}"#),
        ("purchase", r#"{"id":6,"shop":2,"number":1}"#),
    ]);
    let mut config = config(&db, &source);
    config.preset = Preset::parse(TWO_PART_PRESET).unwrap();
    assert_eq!(run(config).await.unwrap().waiting, 1);
    assert_eq!(db.list("select id from shop.purchases").await, ["5"]);
    assert_eq!(db.waiting().await, ["3|shop.visitors|number=1, shop=2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_key_of_another_type_is_named_before_anything_is_read() {
    let db = Db::new().await;
    db.run(&TWO_PART_KEYS.replace("TYPE", "smallint")).await;
    let source = Script::serve(true);
    let mut config = config(&db, &source);
    config.preset = Preset::parse(TWO_PART_PRESET).unwrap();
    let error = run(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("\"of_number\" is smallint"), "{error}");
    assert_eq!(source.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_another_session_commits_while_ours_is_inserted_is_compared() {
    let db = Db::new().await;
    let later = ("order", r#"{"order":2,"at":"2026-01-01T00:00:00Z"}"#);
    let other = Db::new_session(&db).await;
    // Not to be seen yet, but in the way: the engine looks, finds nothing, and waits.
    other
        .batch_execute(
            "begin; insert into shop.orders (order_id, placed_at)
             values (1, '2026-01-01T00:00:00Z'), (2, '2026-02-02T00:00:00Z')",
        )
        .await
        .unwrap();
    let running = tokio::spawn(run(config(&db, &script(&[ORDER, later, ITEM]))));
    eventually("the engine waits", async || {
        let waiting = "select count(*) from pg_stat_activity where datname = current_database()
            and application_name = 'sse_stream' and wait_event_type = 'Lock'";
        db.one(waiting).await == "1"
    })
    .await;
    other.batch_execute("commit").await.unwrap();
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.events_processed, report.rows["shop.items"]), (3, 1));
    assert_eq!(db.dead().await, ["2|conflict|1"]);
    assert_eq!(db.list("select id from shop.raw order by 1").await, ["1", "3"]);
}

/// Counts the statements that insert items, also those that were taken back.
const COUNTED: &str = "
    create sequence shop.attempts;
    create function shop.attempt() returns trigger language plpgsql as $$
        begin perform nextval('shop.attempts'); return null; end $$;
    create trigger items_attempt before insert on shop.items
        for each statement execute function shop.attempt();
    create function shop.refuse() returns trigger language plpgsql as $$
        begin if new.name = 'none' then raise exception 'no such thing'; end if; return new; end $$;
    create trigger items_refuse before insert on shop.items
        for each row execute function shop.refuse()";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_only_an_insert_refuses_is_found_in_few_attempts() {
    let db = Db::new().await;
    db.run(COUNTED).await;
    let item = |n| {
        let name = if n == 300 { "none" } else { "Tea" };
        format!(r#"{{"item":{n},"order":1,"name":"{name}","qty":1}}"#)
    };
    let items: Vec<String> = (0..512).map(item).collect();
    let mut events = vec![ORDER];
    events.extend(items.iter().map(|item| ("item", item.as_str())));
    let report = land(&db, &script(&events)).await;
    assert_eq!((report.dead_letters, report.rows["shop.items"]), (1, 511));
    assert_eq!(db.dead().await, ["302|constraint|1"]);
    // One for all, then two for each halving at most; one by one it would be hundreds.
    let attempts: u32 = db.one("select last_value from shop.attempts").await.parse().unwrap();
    assert!(attempts <= 1 + 2 * 10, "{attempts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_refuses_is_known_before_anything_is_inserted() {
    let db = Db::new().await;
    db.run(COUNTED).await;
    let item = |n| {
        let qty = i32::from(n % 8 != 0);
        format!(r#"{{"item":{n},"order":1,"name":"Tea","qty":{qty}}}"#)
    };
    let items: Vec<String> = (0..400).map(item).collect();
    let mut events = vec![ORDER];
    events.extend(items.iter().map(|item| ("item", item.as_str())));
    let report = land(&db, &script(&events)).await;
    assert_eq!((report.dead_letters, report.rows["shop.items"]), (50, 350));
    let codes = "select distinct reason_code from sse_stream.dead_letters";
    assert_eq!(db.one(codes).await, "out_of_range");
    // A bad event costs its neighbours nothing more than the first attempt, however many there are.
    assert_eq!(db.one("select last_value from shop.attempts").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constraint_that_is_checked_late_costs_its_event_alone() {
    let db = Db::new().await;
    db.run(
        "alter table shop.items add constraint items_name_key unique (name) deferrable initially deferred",
    )
    .await;
    let same_name = ("item", r#"{"item":12,"order":1,"name":"Tea","qty":2}"#);
    let cake = ("item", r#"{"item":13,"order":1,"name":"Cake","qty":2}"#);
    let report = land(&db, &script(&[ORDER, ITEM, same_name, cake])).await;
    assert_eq!((report.events_processed, report.dead_letters), (4, 1));
    assert_eq!(db.dead().await, ["3|conflict|1"]);
    assert_eq!(db.list("select name from shop.items order by 1").await, ["Cake", "Tea"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_refused_does_not_travel_with_its_order() {
    // Three that contradict each other: the first completes the order, whatever the others say.
    let db = Db::new().await;
    let dearer = ("paid", r#"{"order":1,"total":99.00}"#);
    let report = land(&db, &script(&[PAID, dearer, PAID, dearer, ORDER])).await;
    assert_eq!((report.events_processed, report.dead_letters), (5, 2));
    assert_eq!(db.dead().await, ["2|conflict|1", "4|conflict|1"]);
    assert_eq!(db.one("select total from shop.orders").await, "12.50");
    // Nor was it there for a moment.
    assert_eq!(db.list("select what from shop.changes").await, ["INSERT orders"]);
}
