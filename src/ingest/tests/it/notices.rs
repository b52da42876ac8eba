//! What readers hear of a commit, and what triggers know of who writes.

use std::time::Duration;

use futures_util::stream::poll_fn;
use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::replay::{open, replay};
use crate::support::{Db, Script, config, eventually, land, run, split_preset};

const ORDER: (&str, &str) = ("order", r#"{"order":1,"at":"2026-01-01T00:00:00Z"}"#);

/// What is said on the channel from now on, as long as the session is kept.
async fn listen(db: &Db) -> (Client, impl Stream<Item = String> + Unpin) {
    let (client, mut connection) = tokio_postgres::connect(&db.url, NoTls).await.unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = poll_fn(move |cx| connection.poll_message(cx));
        while let Ok(Some(message)) = messages.try_next().await {
            if let AsyncMessage::Notification(it) = message {
                let _ = sender.send(it.payload().to_owned());
            }
        }
    });
    client.batch_execute("listen sse_stream").await.unwrap();
    (client, poll_fn(move |cx| receiver.poll_recv(cx)))
}

/// All that was said until now.
async fn heard(db: &Db, said: &mut (impl Stream<Item = String> + Unpin)) -> Vec<String> {
    db.run("notify sse_stream, 'end'").await;
    let until_end = said.take_while(|message| std::future::ready(message != "end"));
    tokio::time::timeout(Duration::from_secs(10), until_end.collect()).await.unwrap()
}

fn told(position: u32, events: u32) -> String {
    format!(
        r#"{{"stream" : "shop", "shard" : 0, "writer" : 0, "position" : {position}, "events" : {events}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_commit_that_brings_rows_is_told_once() {
    let db = Db::new().await;
    let (_client, mut said) = listen(&db).await;
    let source = Script::of(&[ORDER]);
    source.add(&[("item", r#"{"item":11,"order":1,"name":"Tea","qty":1}"#)]);
    let mut one_by_one = config(&db, &source);
    (one_by_one.batch.events, one_by_one.batch.max_bytes) = (1, 1);
    run(one_by_one).await.unwrap();
    assert_eq!(heard(&db, &mut said).await, [told(1, 1), told(2, 1)]);

    // Read again, they bring nothing; a new one behind them is told with its batch.
    db.run("update sse_stream.offsets set position = 0").await;
    run(config(&db, &source)).await.unwrap();
    assert!(heard(&db, &mut said).await.is_empty());
    db.run("update sse_stream.offsets set position = 0").await;
    source.add(&[("paid", r#"{"order":1,"total":12.50}"#)]);
    run(config(&db, &source)).await.unwrap();
    assert_eq!(heard(&db, &mut said).await, [told(3, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replayed_letters_are_told_too() {
    let db = Db::new().await;
    land(&db, &Script::of(&[ORDER, ("item", r#"{"item":11,"order":1,"name":"Tea","qty":0}"#)]))
        .await;
    let (_client, mut said) = listen(&db).await;
    replay(&db, open()).await;
    assert!(heard(&db, &mut said).await.is_empty());
    db.run("alter table shop.items drop constraint items_qty_check").await;
    replay(&db, open()).await;
    let word = r#"{"stream" : "shop", "shard" : 0, "events" : 1}"#;
    assert_eq!(heard(&db, &mut said).await, [word]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_cannot_be_said_costs_nothing() {
    let db = Db::new().await;
    let source = Script::of(&[ORDER]);
    let mut config = config(&db, &source);
    // Longer than a notification may be.
    config.stream = Some("s".repeat(9000));
    let report = run(config).await.unwrap();
    assert_eq!((report.events_processed, report.batches_processed), (1, 1));
    assert_eq!(db.one("select count(*) from shop.orders").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_session_says_whose_rows_it_writes_also_after_it_was_lost() {
    const NAMES: &str = "select distinct name from shop.names order by 1";
    let db = Db::new().await;
    db.run(
        "create table shop.names (name text);
         create function shop.name() returns trigger language plpgsql as $$
            begin insert into shop.names values (current_setting('sse_stream.writer', true)); return null; end $$;
         create trigger orders_name after insert on shop.orders
            for each statement execute function shop.name()",
    )
    .await;
    let source = Script::serve(false);
    let add = |range: std::ops::Range<u32>| {
        for n in range {
            source.add(&[("order", &format!(r#"{{"order":{n},"at":"2026-01-01T00:00:00Z"}}"#))]);
        }
    };
    let mut two = config(&db, &source);
    (two.preset, two.writers, two.shard) = (split_preset(), 2, 3);
    two.limits.max_events = Some(60);
    let running = tokio::spawn(run(two));
    add(0..30);
    let count = "select count(*) from shop.orders";
    eventually("the first half lands", async || db.one(count).await == "30").await;
    let names = ["shop#3.0", "shop#3.1"];
    assert_eq!(db.list(NAMES).await, names);
    db.run(
        "truncate shop.names;
         select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'sse_stream' and datname = current_database()",
    )
    .await;
    add(30..60);
    running.await.unwrap().unwrap();
    assert_eq!(db.list(NAMES).await, names);
    assert_eq!(db.one(count).await, "60");
}
