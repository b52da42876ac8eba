//! One owner at a time, and a lost owner cannot commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ingest::{ErrorKind, NoHost, Stop};

use crate::support::{Db, Script, config, eventually, run};

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_waits_and_takes_over_at_once() {
    let db = Db::new().await;
    let source = Script::serve(false);
    source.add(&[("visit", r#"{"visit":1}"#)]);
    let mut first = config(&db, &source);
    first.limits.timeout = Some(Duration::from_secs(2));
    let first = tokio::spawn(run(first));
    eventually("first owns", async || db.one("select fence from sse_stream.offsets").await == "1")
        .await;
    let mut second = config(&db, &source);
    second.limits.max_events = Some(1);
    let second = tokio::spawn(run(second));
    first.await.unwrap().unwrap();
    let ended = Instant::now();
    source.add(&[("visit", r#"{"visit":2}"#)]);
    let report = second.await.unwrap().unwrap();
    // A tenth of a second on a quiet machine.
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    assert_eq!((report.first_offset, report.events_processed), (Some(2), 1));
    assert_eq!(db.one("select fence, owner from sse_stream.offsets").await, "2|test");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_with_a_conflict_after_the_lease_and_at_once_on_stop() {
    let db = Db::new().await;
    let source = Script::serve(false);
    let holding = Stop::default();
    let holder = tokio::spawn(ingest::run(config(&db, &source), Arc::new(NoHost), holding.clone()));
    eventually("held", async || db.one("select fence from sse_stream.offsets").await == "1").await;

    let mut waiting = config(&db, &source);
    waiting.lease_timeout = Duration::from_millis(300);
    let error = run(waiting).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetConflict);
    assert!(error.is_transient() && error.to_string().contains("held by test"), "{error}");

    let stop = Stop::default();
    let waiter = tokio::spawn(ingest::run(config(&db, &source), Arc::new(NoHost), stop.clone()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.set();
    let report = waiter.await.unwrap().unwrap();
    assert_eq!(report.stop_reason.as_str(), "stopped");
    holding.set();
    holder.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_run_commits_nothing_more() {
    let db = Db::new().await;
    let source = Script::serve(false);
    source.add(&[("visit", r#"{"visit":1}"#)]);
    let running = tokio::spawn(run(config(&db, &source)));
    eventually("landed", async || db.one("select count(*) from shop.visits").await == "1").await;
    // What a takeover does.
    db.run("update sse_stream.offsets set fence = fence + 1, owner = 'other'").await;
    source.add(&[("visit", r#"{"visit":2}"#)]);
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetConflict, "{error}");
    assert_eq!(db.one("select count(*) from shop.visits").await, "1");
    assert_eq!(db.one("select position from sse_stream.offsets").await, "1");
    assert!(db.one("select error from sse_stream.runs").await.contains("taken over"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_fenced_at_once_lands_nothing_that_waits() {
    let db = Db::new().await;
    let source = Script::of(&[("item", r#"{"item":11,"order":1,"name":"Tea","qty":2}"#)]);
    assert_eq!(run(config(&db, &source)).await.unwrap().waiting, 1);
    db.run("insert into shop.orders (order_id, placed_at) values (1, now())").await;
    // The run has raised the fence and cannot go on yet; meanwhile another one takes over.
    let blocker = Db::new_session(&db).await;
    blocker.batch_execute("begin; lock table shop.items in exclusive mode").await.unwrap();
    let running = tokio::spawn(run(config(&db, &source)));
    eventually("taken", async || db.one("select fence from sse_stream.offsets").await == "2").await;
    db.run("update sse_stream.offsets set fence = fence + 1").await;
    blocker.batch_execute("rollback").await.unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetConflict, "{error}");
    assert_eq!(db.one("select count(*) from shop.items").await, "0");
    assert_eq!(db.waiting().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_database_do_not_wait_for_each_other() {
    let db = Db::new().await;
    let source = Script::serve(false);
    let holding = Stop::default();
    let holder = tokio::spawn(ingest::run(config(&db, &source), Arc::new(NoHost), holding.clone()));
    eventually("held", async || db.one("select fence from sse_stream.offsets").await == "1").await;
    for (stream, shard) in [("other", 0), ("shop", 1)] {
        let mut beside = config(&db, &Script::of(&[("stock", r#"{"sku":"a","level":1}"#)]));
        beside.lease_timeout = Duration::from_millis(300);
        beside.stream = Some(stream.into());
        beside.shard = shard;
        assert_eq!(run(beside).await.unwrap().position, 1);
    }
    assert_eq!(
        db.list("select stream, shard, position from sse_stream.offsets order by 1, 2").await,
        ["other|0|1", "shop|0|0", "shop|1|1"]
    );
    holding.set();
    holder.await.unwrap().unwrap();
}
