//! Content in any order gives the tables that content in order gives, and a batch gives what its
//! events give one by one.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use ingest::Preset;

use crate::support::{Db, PRESET, Script, config, run, split_preset};

/// What a shop sends: type and data.
type Feed = Vec<(&'static str, String)>;

#[derive(Clone, Debug)]
struct Case {
    ordered: Feed,
    scrambled: Feed,
    /// Where the scrambled feed is cut into runs, and the size of their batches.
    cuts: Vec<prop::sample::Index>,
    batch: usize,
    /// How many writers each run has.
    writers: Vec<usize>,
}

fn ordered(orders: &[(u8, bool)]) -> Feed {
    let mut feed = Feed::new();
    for (number, (items, paid)) in orders.iter().enumerate() {
        let at = format!(r#"{{"order":{number},"at":"2026-01-01T00:00:{number:02}Z"}}"#);
        feed.push(("order", at));
        for item in 0..*items {
            let id = number * 10 + usize::from(item);
            feed.push((
                "item",
                format!(r#"{{"item":{id},"order":{number},"name":"n{id}","qty":1}}"#),
            ));
        }
        if *paid {
            feed.push(("paid", format!(r#"{{"order":{number},"total":{items}.25}}"#)));
        }
    }
    feed
}

/// Events that move by up to a window, some of them twice.
fn scrambled(feed: Feed) -> impl Strategy<Value = Feed> {
    let length = feed.len();
    let moves =
        prop::collection::vec((0..20usize, prop::option::weighted(0.3, 0..30usize)), length);
    moves.prop_map(move |moves| {
        let mut placed: Vec<(usize, &(&'static str, String))> = Vec::new();
        for ((place, event), (by, again)) in feed.iter().enumerate().zip(&moves) {
            placed.push((place + by, event));
            placed.extend(again.map(|by| (place + by, event)));
        }
        placed.sort_by_key(|(place, _)| *place);
        placed.into_iter().map(|(_, event)| event.clone()).collect()
    })
}

fn case() -> impl Strategy<Value = Case> {
    prop::collection::vec((0..4u8, any::<bool>()), 1..12).prop_flat_map(|orders| {
        let feed = ordered(&orders);
        let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
        let writers = prop::collection::vec(1..5usize, 4);
        (Just(feed.clone()), scrambled(feed), cuts, 1..40usize, writers).prop_map(
            |(ordered, scrambled, cuts, batch, writers)| Case {
                ordered,
                scrambled,
                cuts,
                batch,
                writers,
            },
        )
    })
}

async fn facts(db: &Db) -> Vec<String> {
    let mut facts = db.list("select order_id, placed_at, total from shop.orders order by 1").await;
    facts.extend(db.list("select i::text from shop.items i order by item_id").await);
    facts
}

/// Lands a feed in the given pieces and returns the tables, which are then emptied.
async fn tables(
    db: &Db,
    feed: &Feed,
    cuts: &[usize],
    (batch, writers): (usize, &[usize]),
) -> Vec<String> {
    let source = Script::serve(true);
    let mut counts = (0, 0, 0);
    let ends = cuts.iter().copied().chain([feed.len()]);
    let mut from = 0;
    for (end, writers) in ends.zip(writers) {
        let piece: Vec<(&str, &str)> =
            feed[from..end].iter().map(|(event, data)| (*event, data.as_str())).collect();
        source.add(&piece);
        let mut config = config(db, &source);
        config.batch.events = batch;
        config.preset = split_preset();
        config.writers = *writers;
        let report = run(config).await.unwrap();
        counts.0 += report.events_processed;
        counts.1 += report.waiting;
        counts.2 += report.resumed;
        from = end;
    }
    assert_eq!(counts.0, feed.len() as u64);
    assert_eq!(counts.1, counts.2, "what waited has landed");
    assert_eq!(db.dead().await, [""; 0]);
    assert_eq!(db.waiting().await, [""; 0]);
    let facts = facts(db).await;
    db.run("truncate shop.raw, shop.orders, shop.items, sse_stream.offsets").await;
    facts
}

#[test]
fn duplicated_reordered_and_interleaved_events_give_the_tables_of_the_ordered_feed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let db = runtime.block_on(Db::new());
    let config =
        Config { cases: 20, failure_persistence: None, max_shrink_iters: 100, ..Config::default() };
    let mut runner = TestRunner::new(config);
    runner
        .run(&case(), |case| {
            let mut cuts: Vec<usize> =
                case.cuts.iter().map(|cut| cut.index(case.scrambled.len())).collect();
            cuts.sort_unstable();
            let expected = runtime.block_on(tables(&db, &case.ordered, &[], (1000, &[1])));
            let got =
                runtime.block_on(tables(&db, &case.scrambled, &cuts, (case.batch, &case.writers)));
            prop_assert_eq!(expected, got);
            Ok(())
        })
        .unwrap();
}

const PAYMENTS: &str = "
    create table shop.payments (
        payment_id integer primary key, order_id integer not null references shop.orders,
        total numeric(8,2) constraint payments_total_check check (total < 3)
    )";

/// A payment has a row of its own beside the order it completes: what is wrong with the one must
/// not show in the other.
fn preset() -> Preset {
    let payments = r#"
        [[route]]
        event = "paid"
        table = "shop.payments"
        mode = "insert"
        key = ["payment_id"]
        parent = "shop.orders"
        columns = { payment_id = "/payment", order_id = "/order", total = "/total" }
    "#;
    Preset::parse(&format!("{PRESET}{payments}")).unwrap()
}

/// Events over few keys and few values, so that they repeat, contradict each other, miss their
/// parents or break a rule in every combination. But one key has one parent: of two contents that
/// wait for different parents the one whose parent comes first wins.
fn event() -> impl Strategy<Value = (&'static str, String)> {
    let order = (0..3u8, 0..2u8).prop_map(|(order, at)| {
        ("order", format!(r#"{{"order":{order},"at":"2026-01-01T00:00:0{at}Z"}}"#))
    });
    let item = (0..5u8, 0..2u8, 0..4u8).prop_map(|(item, name, qty)| {
        let order = item % 3;
        let qty = i8::try_from(qty).unwrap().min(1);
        ("item", format!(r#"{{"item":{item},"order":{order},"name":"n{name}","qty":{qty}}}"#))
    });
    let paid = (0..4u8, 1..4u8).prop_map(|(payment, total)| {
        let order = payment % 3;
        ("paid", format!(r#"{{"payment":{payment},"order":{order},"total":{total}}}"#))
    });
    let stock = (0..2u8, 0..9u8)
        .prop_map(|(sku, n)| ("stock", format!(r#"{{"sku":"{sku}","level":{n}}}"#)));
    let bad = Just(("item", r#"{"item":1}"#.to_owned()));
    prop_oneof![4 => order, 6 => item, 4 => paid, 1 => stock, 1 => bad]
}

/// Everything that a feed leaves behind, which is then removed.
async fn traces(db: &Db, feed: &Feed, one_by_one: bool) -> Vec<String> {
    let source = Script::serve(true);
    let events: Vec<(&str, &str)> = feed.iter().map(|(event, data)| (*event, &data[..])).collect();
    source.add(&events);
    let mut config = config(db, &source);
    config.preset = preset();
    if one_by_one {
        config.batch.events = 1;
        config.batch.max_bytes = 1;
    }
    run(config).await.unwrap();
    let mut traces = Vec::new();
    for sql in [
        "select order_id, placed_at, total from shop.orders order by 1",
        "select i::text from shop.items i order by item_id",
        "select p::text from shop.payments p order by payment_id",
        "select s::text from shop.stock s order by sku",
        // One that waited before it died has left its raw row.
        "select 'raw', id from shop.raw where id not in (select event_offset from sse_stream.dead_letters) order by id",
        // Which of two reasons is named may differ.
        "select 'dead', event_offset from sse_stream.dead_letters order by 2",
        "select 'waiting', event_offset from sse_stream.waiting order by 2",
    ] {
        traces.extend(db.list(sql).await);
    }
    db.run(
        "truncate shop.raw, shop.orders, shop.items, shop.payments, shop.stock,
             sse_stream.offsets, sse_stream.dead_letters, sse_stream.waiting",
    )
    .await;
    traces
}

#[test]
fn a_batch_leaves_what_its_events_leave_one_by_one() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let db = runtime.block_on(Db::new());
    runtime.block_on(db.run(PAYMENTS));
    let config =
        Config { cases: 20, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(event(), 1..40), |feed| {
            let expected = runtime.block_on(traces(&db, &feed, true));
            let got = runtime.block_on(traces(&db, &feed, false));
            prop_assert_eq!(expected, got);
            Ok(())
        })
        .unwrap();
}
