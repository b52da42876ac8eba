//! The database breaks off in the middle of a run, at the worst moments.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ingest::{BadEvents, DatabaseConfig, ErrorKind, NoHost, Report, Stop};

use crate::support::{Db, Script, config, eventually};

/// Where a connection is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// The first bytes of a COPY have passed.
    InCopy,
    /// COMMIT was sent and does not arrive.
    BeforeCommit,
    /// COMMIT was carried out and its answer does not arrive.
    AfterCommit,
}

/// Stands between the engine and the database and cuts connections, so many times.
pub(crate) struct Cutter {
    port: u16,
    pub(crate) left: Arc<AtomicUsize>,
}

impl Cutter {
    pub(crate) fn before(db: &Db, cut: Cut, times: usize) -> Self {
        let (_, place) = db.url.split_once('@').unwrap();
        let server = place.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicUsize::new(times));
        let counter = left.clone();
        // The first COMMIT is the one that takes the stream: cut there, a run never begins.
        let begun = Arc::new(AtomicBool::new(matches!(cut, Cut::InCopy)));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&server) else { continue };
                let (left, begun) = (counter.clone(), begun.clone());
                std::thread::spawn(move || forward(client, server, cut, &left, &begun));
            }
        });
        Self { port, left }
    }

    pub(crate) fn url(&self, db: &Db) -> String {
        let (login, place) = db.url.split_once('@').unwrap();
        let (_, database) = place.split_once('/').unwrap();
        // Encrypted, nobody could see where to cut.
        format!("{login}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    cut: Cut,
    left: &AtomicUsize,
    begun: &AtomicBool,
) {
    let mut answers = server.try_clone().unwrap();
    let mut back = client.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 16384];
        while let Ok(n @ 1..) = answers.read(&mut buffer) {
            if back.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut buffer = [0; 16384];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..n];
        let sign: &[u8] = if matches!(cut, Cut::InCopy) { b"PGCOPY\n" } else { b"commit\0" };
        let armed = bytes.windows(sign.len()).any(|window| window == sign)
            && begun.swap(true, Ordering::SeqCst)
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if armed {
            match cut {
                Cut::InCopy => {
                    let _ = server.write_all(&bytes[..n / 2]);
                }
                Cut::BeforeCommit => {}
                Cut::AfterCommit => {
                    // The answer must not pass, so the client's side goes first.
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = server.write_all(bytes);
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
            return;
        }
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

fn orders(count: u32) -> Vec<(&'static str, String)> {
    (1..=count)
        .flat_map(|n| {
            [
                ("order", format!(r#"{{"order":{n},"at":"2026-01-01T00:00:00Z"}}"#)),
                ("item", format!(r#"{{"item":{n},"order":{n},"name":"Tea","qty":1}}"#)),
                ("paid", format!(r#"{{"order":{n},"total":1.50}}"#)),
                ("visit", format!(r#"{{"visit":{n}}}"#)),
            ]
        })
        .collect()
}

fn serve(count: u32) -> Script {
    let script = Script::serve(true);
    let events = orders(count);
    let events: Vec<(&str, &str)> =
        events.iter().map(|(event, data)| (*event, data.as_str())).collect();
    script.add(&events);
    script
}

async fn check(db: &Db, report: &Report, orders: u64) {
    assert_eq!(report.events_processed, orders * 4);
    assert_eq!((report.duplicates, report.dead_letters), (0, 0));
    assert_eq!(report.rows["shop.raw"], orders * 4);
    let found = db
        .one(
            "select (select count(*) from shop.raw), (select count(*) from shop.orders where total = 1.5),
                    (select count(*) from shop.items), (select count(*) from shop.visits),
                    (select count(distinct visit_id) from shop.visits),
                    (select position from sse_stream.offsets), (select string_agg(stop_reason, ',') from sse_stream.runs)",
        )
        .await;
    assert_eq!(
        found,
        format!("{0}|{orders}|{orders}|{orders}|{orders}|{0}|end_of_stream", orders * 4)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_the_worst_moments_loses_and_doubles_nothing() {
    for cut in [Cut::InCopy, Cut::BeforeCommit, Cut::AfterCommit] {
        let db = Db::new().await;
        let source = serve(50);
        let cutter = Cutter::before(&db, cut, 3);
        let mut config = config(&db, &source);
        config.database = DatabaseConfig::from_url(&cutter.url(&db)).unwrap();
        config.batch.events = 20;
        config.batch.max_bytes = 6000;
        let report = crate::support::run(config).await.unwrap();
        assert_eq!(cutter.left.load(Ordering::SeqCst), 0, "{cut:?}");
        check(&db, &report, 50).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_killed_under_load_lose_and_double_nothing() {
    let db = Db::new().await;
    let source = serve(2000);
    let mut config = config(&db, &source);
    config.batch.events = 50;
    config.batch.max_bytes = 20_000;
    let running = tokio::spawn(ingest::run(config, Arc::new(NoHost), Stop::default()));
    // A session that ends before the run holds the stream is the caller's to try again.
    eventually("the run is under way", async || {
        db.one("select count(*) > 0 from shop.raw").await == "t"
    })
    .await;
    for _ in 0..5 {
        let before = db.one("select max(position) from sse_stream.offsets").await;
        eventually("the offset moves", async || {
            running.is_finished()
                || db.one("select max(position) from sse_stream.offsets").await != before
        })
        .await;
        db.run(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name = 'sse_stream'",
        )
        .await;
    }
    let report = running.await.unwrap().unwrap();
    check(&db, &report, 2000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_lost_the_stream_while_it_was_cut_off_gives_up() {
    let db = Db::new().await;
    let source = Script::serve(false);
    source.add(&[("visit", r#"{"visit":1}"#)]);
    let running =
        tokio::spawn(ingest::run(config(&db, &source), Arc::new(NoHost), Stop::default()));
    eventually("landed", async || db.one("select count(*) from shop.visits").await == "1").await;
    db.run(
        "update sse_stream.offsets set fence = fence + 1;
         select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'sse_stream'",
    )
    .await;
    source.add(&[("visit", r#"{"visit":2}"#)]);
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetConflict, "{error}");
    assert_eq!(db.one("select count(*) from shop.visits").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_recovers_in_vain_still_stops_when_asked() {
    let db = Db::new().await;
    let source = Script::serve(false);
    source.add(&[("visit", r#"{"visit":1}"#)]);
    // Every COMMIT is cut.
    let cutter = Cutter::before(&db, Cut::BeforeCommit, usize::MAX);
    let mut config = config(&db, &source);
    config.database = DatabaseConfig::from_url(&cutter.url(&db)).unwrap();
    let stop = Stop::default();
    let running = tokio::spawn(ingest::run(config, Arc::new(NoHost), stop.clone()));
    eventually("three attempts", async || cutter.left.load(Ordering::SeqCst) <= usize::MAX - 3)
        .await;
    stop.set();
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.stop_reason.as_str(), report.events_processed), ("stopped", 0));
    assert_eq!(db.one("select count(*) from shop.visits").await, "0");
}

const ORDER: (&str, &str) = ("order", r#"{"order":1,"at":"2026-01-01T00:00:00Z"}"#);
const ITEM: (&str, &str) = ("item", r#"{"item":11,"order":1,"name":"Tea","qty":1}"#);
const OTHER: (&str, &str) = ("item", r#"{"item":11,"order":1,"name":"Cake","qty":1}"#);
const EARLY: (&str, &str) = ("item", r#"{"item":21,"order":2,"name":"Tea","qty":1}"#);
const BROKEN: (&str, &str) = ("item", r#"{"item":"#);

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_each_event_outlives_a_cut_commit() {
    for cut in [Cut::BeforeCommit, Cut::AfterCommit] {
        let db = Db::new().await;
        let source = Script::of(&[ORDER, BROKEN, ITEM, EARLY, OTHER, ITEM]);
        let cutter = Cutter::before(&db, cut, 1);
        let mut config = config(&db, &source);
        config.database = DatabaseConfig::from_url(&cutter.url(&db)).unwrap();
        let report = crate::support::run(config).await.unwrap();
        assert_eq!(cutter.left.load(Ordering::SeqCst), 0, "{cut:?}");
        assert_eq!((report.events_processed, report.waiting, report.dead_letters), (6, 1, 2));
        assert_eq!((report.rows["shop.raw"], report.rows["shop.items"]), (4, 1), "{cut:?}");
        assert_eq!(db.dead().await, ["2|not_json|1", "5|conflict|1"], "{cut:?}");
        assert_eq!(db.waiting().await, ["4|shop.orders|order_id=2"], "{cut:?}");
        assert_eq!(db.list("select id from shop.raw order by 1").await, ["1", "3", "4", "6"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_to_fail_outlives_a_cut_commit() {
    // One that is found by decoding, one that only the database finds.
    for (cut, bad) in [
        (Cut::BeforeCommit, BROKEN),
        (Cut::AfterCommit, BROKEN),
        (Cut::BeforeCommit, OTHER),
        (Cut::AfterCommit, OTHER),
    ] {
        let db = Db::new().await;
        let source = Script::of(&[ORDER, ITEM, bad, EARLY]);
        let cutter = Cutter::before(&db, cut, 1);
        let mut config = config(&db, &source);
        config.database = DatabaseConfig::from_url(&cutter.url(&db)).unwrap();
        config.bad_events = BadEvents::Fail;
        let error = crate::support::run(config).await.unwrap_err();
        assert_eq!(cutter.left.load(Ordering::SeqCst), 0, "{cut:?}");
        assert_eq!(error.kind(), ErrorKind::BadEvent, "{cut:?}: {error}");
        assert_eq!(db.list("select id from shop.raw order by 1").await, ["1", "2"], "{cut:?}");
        assert_eq!(db.one("select position from sse_stream.offsets").await, "2", "{cut:?}");
        assert!(db.dead().await.is_empty() && db.waiting().await.is_empty(), "{cut:?}");
    }
}

/// A source that goes on from below leaves the position where it stood: it says nothing then
/// about what became of the batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_ends_where_it_began_is_not_taken_for_committed() {
    let db = Db::new().await;
    let source = Script::serve(false);
    source.add(&[("visit", r#"{"visit":1}"#)]);
    let cutter = Cutter::before(&db, Cut::BeforeCommit, 0);
    let mut config = config(&db, &source);
    config.database = DatabaseConfig::from_url(&cutter.url(&db)).unwrap();
    config.limits.max_events = Some(3);
    let running = tokio::spawn(crate::support::run(config));
    eventually("landed", async || db.one("select count(*) from shop.visits").await == "1").await;
    cutter.left.store(1, Ordering::SeqCst);
    let again = "id: 1\nevent: visit\ndata: {\"visit\":1}\n\n";
    source.add_then(&[("visit", r#"{"visit":2}"#)], again);
    let report = running.await.unwrap().unwrap();
    assert_eq!(cutter.left.load(Ordering::SeqCst), 0);
    assert_eq!((report.position, report.events_processed, report.duplicates), (1, 3, 1));
    assert_eq!(db.list("select visit_id from shop.visits order by 1").await, ["1", "2"]);
}
