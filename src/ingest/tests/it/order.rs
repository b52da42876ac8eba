//! Content in any order gives the tables that content in order gives.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Db, Script, config, run};

/// What a shop sends: type and data.
type Feed = Vec<(&'static str, String)>;

#[derive(Clone, Debug)]
struct Case {
    ordered: Feed,
    scrambled: Feed,
    /// Where the scrambled feed is cut into runs, and the size of their batches.
    cuts: Vec<prop::sample::Index>,
    batch: usize,
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
        (Just(feed.clone()), scrambled(feed), cuts, 1..40usize)
            .prop_map(|(ordered, scrambled, cuts, batch)| Case { ordered, scrambled, cuts, batch })
    })
}

async fn facts(db: &Db) -> Vec<String> {
    let mut facts = db.list("select order_id, placed_at, total from shop.orders order by 1").await;
    facts.extend(db.list("select i::text from shop.items i order by item_id").await);
    facts
}

/// Lands a feed in the given pieces and returns the tables, which are then emptied.
async fn tables(db: &Db, feed: &Feed, cuts: &[usize], batch: usize) -> Vec<String> {
    let source = Script::serve(true);
    let mut counts = (0, 0, 0);
    let ends = cuts.iter().copied().chain([feed.len()]);
    let mut from = 0;
    for end in ends {
        let piece: Vec<(&str, &str)> =
            feed[from..end].iter().map(|(event, data)| (*event, data.as_str())).collect();
        source.add(&piece);
        let mut config = config(db, &source);
        config.batch.events = batch;
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
            let expected = runtime.block_on(tables(&db, &case.ordered, &[], 1000));
            let got = runtime.block_on(tables(&db, &case.scrambled, &cuts, case.batch));
            prop_assert_eq!(expected, got);
            Ok(())
        })
        .unwrap();
}
