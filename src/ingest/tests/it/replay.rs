//! Dead letters: what people see of them, and another attempt at them.

use std::sync::Arc;
use std::time::Duration;

use ingest::{
    Cursor, ErrorKind, Host, NoHost, Preset, ProcessorEvent, Replay, Replayed, RunIdentity,
    Selection, Stop,
};
use serde_json::json;

use crate::support::{Db, PRESET, Script, config, eventually, land, run};

const ORDER: (&str, &str) = ("order", r#"{"order":1,"at":"2026-01-01T00:00:00Z"}"#);
const BAD_ITEM: (&str, &str) = ("item", r#"{"item":11,"order":1,"name":"Tea","qty":0}"#);
const ALLOW: &str = "alter table shop.items drop constraint items_qty_check";
const FORBID: &str = "alter table shop.items add constraint items_qty_check check (qty > 0)";
const LETTERS: &str = "select event_offset, reason_code, state, attempts, settled_by, raw_landed
    from sse_stream.dead_letters order by dead_letter_id";

pub(crate) fn open() -> Selection {
    Selection {
        ids: Vec::new(),
        reasons: Vec::new(),
        event_types: Vec::new(),
        states: vec!["open".into()],
        since: None,
        before: None,
        limit: u64::MAX,
    }
}

fn asked(selection: Selection) -> Replay {
    Replay {
        preset: Preset::parse(PRESET).unwrap(),
        stream: None,
        shard: 0,
        selection,
        run: RunIdentity {
            dag_id: "d".into(),
            run_id: "again".into(),
            owner: "ann".into(),
            ..RunIdentity::default()
        },
    }
}

async fn replay_with(db: &Db, asked: &Replay, host: Arc<dyn Host>) -> Replayed {
    ingest::replay(&db.config(), asked, host, &Stop::default()).await.unwrap()
}

pub(crate) async fn replay(db: &Db, selection: Selection) -> Replayed {
    replay_with(db, &asked(selection), Arc::new(NoHost)).await
}

/// Landed, duplicates, waiting, dead again.
fn fates(done: &Replayed) -> [u64; 4] {
    [done.landed, done.duplicates, done.waiting, done.left]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_lands_once_and_is_marked() {
    let db = Db::new().await;
    let source = Script::of(&[ORDER, BAD_ITEM, ("visit", r#"{"visit":1}"#)]);
    land(&db, &source).await;
    let done = replay(&db, open()).await;
    assert_eq!((done.letters, fates(&done), done.unsettled()), (1, [0, 0, 0, 1], 1));
    assert!(done.reasons.iter().next().unwrap().contains("items_qty_check"), "{done:?}");
    assert_eq!(db.list(LETTERS).await, ["2|out_of_range|open|2||f"]);

    db.run(ALLOW).await;
    let done = replay(&db, open()).await;
    assert_eq!((done.letters, fates(&done), done.unsettled()), (1, [1, 0, 0, 0], 0));
    assert_eq!((done.rows["shop.items"], done.rows["shop.raw"]), (1, 1));
    assert_eq!(db.list(LETTERS).await, ["2|out_of_range|replayed|3|ann|t"]);
    assert_eq!(
        db.list("select epoch, id, type from shop.raw order by id").await,
        ["one|1|order", "one|2|item", "one|3|visit"]
    );
    assert_eq!(
        db.one(
            "select dag_id, run_id, events, rows, dead_letters, stop_reason, ended_at is not null
                from sse_stream.runs order by id desc limit 1"
        )
        .await,
        "d|again|1|2|0|replay|t"
    );

    let everything = db.everything().await;
    assert_eq!(replay(&db, open()).await.letters, 0);
    db.run("update sse_stream.offsets set position = 0").await;
    assert_eq!(land(&db, &source).await.duplicates, 3);
    assert_eq!(db.everything().await, everything);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_key_land_once_although_their_offset_was_passed() {
    let db = Db::new().await;
    db.run("alter table shop.visits add constraint small check (visit_id < 100)").await;
    let visits = [("visit", r#"{"visit":500}"#), ("visit", r#"{"visit":1}"#)];
    let source = Script::of(&visits);
    assert_eq!(land(&db, &source).await.dead_letters, 1);
    db.run("alter table shop.visits drop constraint small").await;
    assert_eq!(fates(&replay(&db, open()).await), [1, 0, 0, 0]);
    let seen = "select visit_id from shop.visits order by 1";
    assert_eq!(db.list(seen).await, ["1", "500"]);
    assert_eq!(
        db.one("select v.seen::timestamptz = l.created_at from shop.visits v, sse_stream.dead_letters l
                where visit_id = 500").await,
        "t",
        "it was received then, not now"
    );

    // Read again while it is refused, it is open again; its row without a key stands all the same.
    db.run("update sse_stream.offsets set position = 0; delete from shop.raw where id = 1").await;
    db.run("alter table shop.raw add constraint later check (id > 1)").await;
    assert_eq!(land(&db, &source).await.dead_letters, 1);
    assert_eq!(
        db.one("select state, settled_at is not null from sse_stream.dead_letters").await,
        "open|t"
    );
    db.run("alter table shop.raw drop constraint later").await;
    replay(&db, open()).await;
    assert_eq!(db.list(seen).await, ["1", "500"]);
    assert_eq!(db.one("select state from sse_stream.dead_letters").await, "replayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_brings_the_children_that_wait_for_it() {
    let db = Db::new().await;
    db.run("alter table shop.orders add constraint few check (order_id < 1)").await;
    let source = Script::of(&[ORDER, ("item", r#"{"item":11,"order":1,"name":"Tea","qty":2}"#)]);
    let report = land(&db, &source).await;
    assert_eq!((report.dead_letters, report.waiting), (1, 1));
    db.run("alter table shop.orders drop constraint few").await;
    let done = replay(&db, open()).await;
    assert_eq!((fates(&done), done.resumed), ([1, 0, 0, 0], 1));
    assert_eq!(db.one("select item_id from shop.items").await, "11");
    assert!(db.waiting().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_parent_is_not_there_waits_again_without_a_second_raw_row() {
    let db = Db::new().await;
    // Without a key, a second raw row would show.
    let preset =
        PRESET.replacen("mode = \"insert\"\n    key = [\"epoch\", \"id\"]", "mode = \"append\"", 1);
    assert_ne!(preset, PRESET);
    db.run("alter table shop.raw drop constraint raw_pkey").await;
    let source = Script::of(&[("item", r#"{"item":11,"order":1,"name":"Tea","qty":2}"#)]);
    let run_so = async |max_wait| {
        let mut config = config(&db, &source);
        config.preset = Preset::parse(&preset).unwrap();
        config.max_wait = max_wait;
        run(config).await.unwrap()
    };
    let again = async || {
        let asked = Replay { preset: Preset::parse(&preset).unwrap(), ..asked(open()) };
        replay_with(&db, &asked, Arc::new(NoHost)).await
    };
    run_so(Duration::from_secs(3600)).await;
    db.run("update sse_stream.waiting set first_seen_at = now() - interval '2 hours'").await;
    assert_eq!(run_so(Duration::from_secs(60)).await.dead_letters, 1);
    assert_eq!(fates(&again().await), [0, 0, 1, 0]);
    assert_eq!(db.waiting().await.len(), 1);
    assert_eq!(db.list(LETTERS).await, ["1|missing_parent|replayed|2|ann|t"]);

    db.run("update sse_stream.waiting set first_seen_at = now() - interval '2 hours'").await;
    run_so(Duration::from_secs(60)).await;
    assert_eq!(db.list(LETTERS).await, ["1|missing_parent|open|3|ann|t"]);
    db.run("insert into shop.orders (order_id, placed_at) values (1, now())").await;
    assert_eq!(fates(&again().await), [1, 0, 0, 0]);
    assert_eq!(
        db.one("select (select count(*) from shop.raw), (select count(*) from shop.items)").await,
        "1|1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_stays_dead_while_the_other_row_stands() {
    let db = Db::new().await;
    let other = ("order", r#"{"order":1,"at":"2026-02-02T00:00:00Z"}"#);
    let source = Script::of(&[ORDER, other]);
    land(&db, &source).await;
    let done = replay(&db, open()).await;
    assert_eq!(done.left, 1);
    assert!(done.reasons.iter().next().unwrap().starts_with("conflict: "), "{done:?}");
    db.run("delete from shop.orders").await;
    assert_eq!(fates(&replay(&db, open()).await), [1, 0, 0, 0]);
    assert_eq!(db.one("select placed_at::date from shop.orders").await, "2026-02-02");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_tried_is_left_as_it_is_and_told() {
    let db = Db::new().await;
    land(&db, &Script::of(&[ORDER])).await;
    db.run(
        "insert into sse_stream.dead_letters (stream, epoch, event_offset, source_id, event_type, reason_code, reason, raw)
         values ('shop', 'one', null, '', 'visit', 'missing_id', 'm', '{\"visit\":1}'),
                ('shop', 'one', 7, '7', 'visit', 'too_large', 't', '{\"visit\":7}'),
                ('shop', 'one', 8, '8', 'visit', 'processor_error', 'p', '{\"visit\":8}'),
                ('shop', 'one', 9, '9', 'visit', 'invalid_utf8', 'i', '\\xff'),
                ('shop', 'one', 10, '10', 'strange', 'unknown_type', 'u', '{}'),
                ('other', 'one', 11, '11', 'visit', 'conflict', 'c', '{\"visit\":11}')",
    )
    .await;
    let done = replay(&db, open()).await;
    assert_eq!((done.letters, done.left, done.unsettled(), done.skipped.len()), (5, 2, 5, 3));
    assert_eq!(db.one("select count(*) from shop.visits").await, "0");
    assert_eq!(
        db.list("select coalesce(event_offset, 0), state, attempts from sse_stream.dead_letters order by 1").await,
        ["0|open|1", "7|open|1", "8|open|1", "9|open|2", "10|open|2", "11|open|1"]
    );
}

/// Lets a visit pass.
struct Visits;

impl Host for Visits {
    fn processor(&self, event_type: &str) -> bool {
        event_type == "visit"
    }

    fn process(&self, event: &ProcessorEvent, cursor: &mut Cursor) -> Result<(), String> {
        let sql = "insert into shop.stock (sku, level) values (%s, 1)";
        cursor.execute(sql, Some(&[(None, Some(event.data.clone()))])).map(|_| ())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_takes_the_letters_of_its_type() {
    let db = Db::new().await;
    land(&db, &Script::of(&[ORDER])).await;
    db.run(
        "insert into sse_stream.dead_letters (stream, epoch, event_offset, source_id, event_type, reason_code, reason, raw)
         values ('shop', 'one', 8, '8', 'visit', 'processor_error', 'p', '{\"visit\":8}')",
    )
    .await;
    let done = replay_with(&db, &asked(open()), Arc::new(Visits)).await;
    assert_eq!(fates(&done), [1, 0, 0, 0]);
    assert_eq!(db.one("select sku from shop.stock").await, r#"{"visit":8}"#);
    assert_eq!(db.one("select count(*) from shop.visits").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_was_given_up_stays_so_until_it_is_asked_for() {
    let db = Db::new().await;
    let source = Script::of(&[ORDER, BAD_ITEM]);
    land(&db, &source).await;
    let id: i64 =
        db.one("select dead_letter_id from sse_stream.dead_letters").await.parse().unwrap();
    let discard = async |stream: &str, ids: &[i64]| {
        ingest::discard_dead_letters(&db.config(), stream, ids, "ann").await.unwrap()
    };
    assert!(discard("other", &[id]).await.is_empty());
    assert_eq!(discard("shop", &[id, 99]).await, [id]);
    assert!(discard("shop", &[id]).await.is_empty(), "it was open once");
    db.run("update sse_stream.offsets set position = 0").await;
    assert_eq!(land(&db, &source).await.dead_letters, 1);
    assert_eq!(db.list(LETTERS).await, ["2|out_of_range|discarded|2|ann|f"]);
    db.run(ALLOW).await;
    assert_eq!(replay(&db, open()).await.letters, 0);
    let forced = Selection { states: vec!["open".into(), "discarded".into()], ..open() };
    assert_eq!(fates(&replay(&db, forced).await), [1, 0, 0, 0]);
    assert_eq!(db.list(LETTERS).await, ["2|out_of_range|replayed|3|ann|t"]);
}

/// A stream with many bad items among good visits; the table would take them now.
async fn many_letters(count: u32, serving: bool) -> (Db, Script) {
    let db = Db::new().await;
    let source = Script::serve(!serving);
    let mut events = vec![ORDER.0.to_owned(), ORDER.1.to_owned()];
    for n in 0..count {
        events.push("item".into());
        events.push(format!(r#"{{"item":{n},"order":1,"name":"Tea","qty":0}}"#));
        events.push("visit".into());
        events.push(format!(r#"{{"visit":{n}}}"#));
    }
    let pairs: Vec<(&str, &str)> =
        events.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    source.add(&pairs);
    let mut first = config(&db, &source);
    first.limits.max_events = Some(u64::from(1 + 2 * count));
    let report = run(first).await.unwrap();
    assert_eq!(report.dead_letters, u64::from(count));
    db.run(ALLOW).await;
    (db, source)
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_beside_a_live_run_that_reads_the_same_events_land_each_once() {
    let (db, source) = many_letters(300, true).await;
    db.run("update sse_stream.offsets set position = 0").await;
    let mut live = config(&db, &source);
    live.batch.events = 20;
    let stop = Stop::default();
    let running = tokio::spawn(ingest::run(live, Arc::new(NoHost), stop.clone()));
    let replays = async || replay(&db, open()).await;
    let (a, b) = tokio::join!(replays(), replays());
    eventually("read again", async || {
        db.one("select position from sse_stream.offsets").await == "601"
    })
    .await;
    stop.set();
    running.await.unwrap().unwrap();
    let rest = replay(&db, open()).await;
    assert_eq!(a.letters + b.letters + rest.letters, 300, "each letter was one replay's");
    assert_eq!(
        db.one(
            "select (select count(*) from shop.items), (select count(*) from shop.visits),
                    (select count(distinct visit_id) from shop.visits), (select count(*) from shop.raw),
                    (select count(*) from sse_stream.dead_letters where state = 'replayed')"
        )
        .await,
        "300|300|300|601|300"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_dies_leaves_its_page_open_and_the_next_lands_it_once() {
    let (db, _) = many_letters(30, false).await;
    // Somebody else is inserting one of the rows: the replay waits for the verdict.
    let blocker = Db::new_session(&db).await;
    let row = "begin; insert into shop.items (item_id, order_id, name, qty) values (7, 1, 'x', 1)";
    blocker.batch_execute(row).await.unwrap();
    let (database, asked) = (db.config(), asked(open()));
    let dying = tokio::spawn(async move {
        ingest::replay(&database, &asked, Arc::new(NoHost), &Stop::default()).await
    });
    let blocked =
        "from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually("inserting", async || db.one(&format!("select count(*) {blocked}")).await == "1")
        .await;
    // Another replay does not wait for these letters, nor take them.
    let other = tokio::time::timeout(Duration::from_secs(10), replay(&db, open())).await;
    assert_eq!(other.expect("it waits for nobody").letters, 0);
    db.run(&format!("select pg_terminate_backend(pid) {blocked}")).await;
    assert_eq!(dying.await.unwrap().unwrap_err().kind(), ErrorKind::Database);
    blocker.batch_execute("rollback").await.unwrap();
    assert_eq!(
        db.one("select count(*) from sse_stream.dead_letters where state = 'open'").await,
        "30"
    );
    assert_eq!(replay(&db, open()).await.landed, 30);
    assert_eq!(db.one("select count(*) from shop.items").await, "30");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_mark_stand_together_or_not_at_all() {
    let (db, _) = many_letters(5, false).await;
    db.run(
        "create function shop.refuse() returns trigger language plpgsql as
             $$ begin raise exception 'no mark'; end $$;
         create trigger letters_refuse before update on sse_stream.dead_letters
             for each row when (new.state = 'replayed') execute function shop.refuse()",
    )
    .await;
    let before = db.everything().await;
    let (letters, stop) = (asked(open()), Stop::default());
    let failed = ingest::replay(&db.config(), &letters, Arc::new(NoHost), &stop).await;
    assert!(failed.unwrap_err().to_string().contains("no mark"));
    assert_eq!(db.everything().await, before);
    db.run("drop trigger letters_refuse on sse_stream.dead_letters").await;
    assert_eq!(replay(&db, open()).await.landed, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_with_somebody_else_costs_another_attempt() {
    let (db, _) = many_letters(5, false).await;
    let item = |n: u32| {
        format!("insert into shop.items (item_id, order_id, name, qty) values ({n}, 1, 'x', 1)")
    };
    let other = Db::new_session(&db).await;
    other.batch_execute(&format!("begin; {}", item(4))).await.unwrap();
    let (database, asked) = (db.config(), asked(open()));
    let replaying = tokio::spawn(async move {
        ingest::replay(&database, &asked, Arc::new(NoHost), &Stop::default()).await
    });
    let waits = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    eventually("it has the first and waits for the last", async || db.one(waits).await == "1")
        .await;
    // Who waited first looks for a deadlock first and gives up: the replay.
    other.batch_execute(&item(0)).await.unwrap();
    other.batch_execute("rollback").await.unwrap();
    assert_eq!(replaying.await.unwrap().unwrap().landed, 5);
    assert_eq!(db.one("select count(*) from shop.items").await, "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_was_settled_since_it_was_chosen_is_left_alone() {
    let (db, _) = many_letters(505, false).await;
    let locks = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    // The first page waits for somebody's row, so that there is time to stand in the second's way:
    // behind its choice of letters, before it takes them.
    let row = Db::new_session(&db).await;
    row.batch_execute(
        "begin; insert into shop.items (item_id, order_id, name, qty) values (7, 1, 'x', 1)",
    )
    .await
    .unwrap();
    let (database, asked) = (db.config(), asked(open()));
    let replaying = tokio::spawn(async move {
        ingest::replay(&database, &asked, Arc::new(NoHost), &Stop::default()).await
    });
    eventually("first page waits", async || db.one(locks).await == "1").await;
    let room = Db::new_session(&db).await;
    let closing = tokio::spawn(async move {
        room.batch_execute("begin; lock table sse_stream.waiting").await.unwrap();
        room
    });
    eventually("queued", async || db.one(locks).await == "2").await;
    row.batch_execute("rollback").await.unwrap();
    let room = closing.await.unwrap();
    eventually("second page waits", async || db.one(locks).await == "1").await;
    db.run("update sse_stream.dead_letters set state = 'discarded' where state = 'open'").await;
    room.batch_execute("rollback").await.unwrap();
    assert_eq!(replaying.await.unwrap().unwrap().letters, 500);
    assert_eq!(db.one("select count(*) from shop.items").await, "500");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_tried_in_pages_up_to_the_limit_and_a_stop_ends_between_them() {
    let (db, _) = many_letters(1100, false).await;
    let stopped = Stop::default();
    stopped.set();
    let done =
        ingest::replay(&db.config(), &asked(open()), Arc::new(NoHost), &stopped).await.unwrap();
    assert_eq!((done.letters, done.stopped), (0, true));
    let some = Selection { limit: 700, ..open() };
    assert_eq!(replay(&db, some).await.landed, 700);
    let done = replay(&db, open()).await;
    assert_eq!((done.letters, done.landed, done.stopped), (400, 400, false));
    assert_eq!(db.one("select count(*) from shop.items").await, "1100");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_stay_dead_are_tried_once_per_replay() {
    let (db, _) = many_letters(40, false).await;
    db.run(FORBID).await;
    let done = replay(&db, open()).await;
    assert_eq!((done.letters, done.left), (40, 40));
    assert_eq!(
        db.one("select min(attempts), max(attempts) from sse_stream.dead_letters").await,
        "2|2"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_shown_and_chosen() {
    let db = Db::new().await;
    let long = format!(r#"{{"visit":"{}"}}"#, "x".repeat(200));
    let source = Script::of(&[ORDER, BAD_ITEM, ("visit", &long), ("visit", "{no"), ("odd", "{}")]);
    land(&db, &source).await;
    db.run("update sse_stream.dead_letters set created_at = now() - interval '2 days' where event_offset = 3").await;
    let list = async |selection: Selection| {
        ingest::list_dead_letters(&db.config(), "shop", 0, &selection).await.unwrap()
    };
    let all = list(open()).await;
    assert_eq!(all["letters"].as_array().unwrap().len(), 4);
    assert_eq!(all["groups"].as_array().unwrap().len(), 4);
    assert!(!all.to_string().contains("xxx"), "no content in a list");
    let ids = |found: &serde_json::Value| -> Vec<i64> {
        found["letters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["offset"].as_i64().unwrap())
            .collect()
    };
    let day_ago = db.one("select now() - interval '1 day'").await;
    for (selection, offsets) in [
        (Selection { reasons: vec!["not_json".into()], ..open() }, &[4][..]),
        (Selection { event_types: vec!["visit".into()], ..open() }, &[4, 3]),
        (Selection { since: Some(day_ago.clone()), ..open() }, &[5, 4, 2]),
        (Selection { before: Some(day_ago), ..open() }, &[3]),
        (Selection { states: vec!["replayed".into()], ..open() }, &[]),
        (Selection { limit: 2, ..open() }, &[5, 4]),
    ] {
        assert_eq!(ids(&list(selection.clone()).await), offsets, "{selection:?}");
    }
    let id = all["letters"][0]["id"].as_i64().unwrap();
    let shown = ingest::show_dead_letter(&db.config(), id).await.unwrap().unwrap();
    assert_eq!((&shown["raw"], &shown["event_type"]), (&json!("e30="), &json!("odd")));
    assert_eq!(ingest::show_dead_letter(&db.config(), -1).await.unwrap(), None);
}

/// A child whose journal has no key.
fn with_journal() -> Replay {
    let journal = "\n[[route]]\nevent = \"item\"\ntable = \"shop.visits\"\nmode = \"append\"\ncolumns = { visit_id = \"/item\" }\n";
    let mut asked = asked(open());
    asked.preset = Preset::parse(&format!("{PRESET}{journal}")).unwrap();
    asked
}

const ITEM: (&str, &str) = ("item", r#"{"item":11,"order":1,"name":"Tea","qty":1}"#);
const OLD: &str = "update sse_stream.waiting set first_seen_at = now() - interval '9 hours'";

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_event_that_waits_again_is_no_open_letter_and_lands_once() {
    let db = Db::new().await;
    let asked = with_journal();
    let source = Script::of(&[ITEM]);
    let next = || {
        let mut config = config(&db, &source);
        config.preset = asked.preset.clone();
        run(config)
    };
    next().await.unwrap();
    db.run(OLD).await;
    assert_eq!(next().await.unwrap().dead_letters, 1);
    db.run("update sse_stream.offsets set position = 0").await;
    next().await.unwrap();
    assert_eq!(db.waiting().await.len(), 1);
    assert_eq!(db.list(LETTERS).await, ["1|missing_parent|replayed|1|waiting again|t"]);
    source.add(&[ORDER]);
    next().await.unwrap();
    let done = replay_with(&db, &asked, Arc::new(NoHost)).await;
    assert_eq!(done.letters, 0);
    assert_eq!(db.list("select visit_id from shop.visits").await, ["11"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_waited_in_vain_twice_still_brings_all_its_rows() {
    let db = Db::new().await;
    let asked = with_journal();
    let source = Script::of(&[ITEM]);
    let next = || {
        let mut config = config(&db, &source);
        config.preset = asked.preset.clone();
        run(config)
    };
    next().await.unwrap();
    db.run(OLD).await;
    next().await.unwrap();
    let done = replay_with(&db, &asked, Arc::new(NoHost)).await;
    assert_eq!(fates(&done), [0, 0, 1, 0]);
    db.run(OLD).await;
    next().await.unwrap();
    db.run("insert into shop.orders (order_id, placed_at) values (1, now())").await;
    let done = replay_with(&db, &asked, Arc::new(NoHost)).await;
    assert_eq!(fates(&done), [1, 0, 0, 0]);
    assert_eq!(db.list("select visit_id from shop.visits").await, ["11"]);
    assert_eq!(db.one("select count(*) from shop.raw").await, "1");
}
