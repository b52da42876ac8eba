//! How a run starts, stops and resumes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ingest::{ErrorKind, Host, Stop};

use crate::support::{Db, PRESET, Script, config, eventually, land, run, run_with};

fn visits(from: u32, count: u32) -> Vec<(&'static str, String)> {
    (from..from + count).map(|n| ("visit", format!(r#"{{"visit":{n}}}"#))).collect()
}

fn add(script: &Script, events: &[(&'static str, String)]) {
    let events: Vec<(&str, &str)> =
        events.iter().map(|(event, data)| (*event, data.as_str())).collect();
    script.add(&events);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_limit_is_exact_and_the_next_run_goes_on() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 250));
    for (limit, position) in [(100, 100), (100, 200), (100, 250)] {
        let mut config = config(&db, &source);
        config.limits.max_events = Some(limit);
        config.batch.events = 7;
        let report = run(config).await.unwrap();
        assert_eq!(report.position, position);
        assert_eq!(report.events_processed, if position == 250 { 50 } else { 100 });
    }
    assert_eq!(
        db.one("select count(*), count(distinct visit_id) from shop.visits").await,
        "250|250"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_and_the_idle_limit_need_no_line() {
    let db = Db::new().await;
    let source = Script::mute();
    add(&source, &visits(1, 3));
    for (timeout, idle, reason) in [(700, None, "deadline"), (15_000, Some(400), "idle")] {
        let mut config = config(&db, &source);
        config.limits.timeout = Some(Duration::from_millis(timeout));
        config.limits.idle_timeout = idle.map(Duration::from_millis);
        let start = Instant::now();
        let report = run(config).await.unwrap();
        assert_eq!(report.stop_reason.as_str(), reason);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
    assert_eq!(db.one("select count(*) from shop.visits").await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_never_answers_is_an_error_and_no_quiet_deadline() {
    let db = Db::new().await;
    let mut config = config(&db, &Script::serve(false));
    config.source = sse::ClientConfig::new("http://127.0.0.1:1/stream");
    config.limits.timeout = Some(Duration::from_millis(700));
    let error = run(config).await.unwrap_err();
    assert_eq!(error.kind(), ingest::ErrorKind::Source);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(db.one("select error from sse_stream.runs").await.contains("could not be reached"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_within_a_second_also_while_the_database_hangs() {
    let db = Db::new().await;
    let source = Script::serve(false);
    add(&source, &visits(1, 3));
    // Somebody holds the table: the commit waits until it is given up.
    let blocker = Db::new_session(&db).await;
    blocker.batch_execute("begin; lock table shop.visits in access exclusive mode").await.unwrap();
    let stop = Stop::default();
    let running =
        tokio::spawn(ingest::run(config(&db, &source), Arc::new(ingest::NoHost), stop.clone()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    stop.set();
    let report = running.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!((report.stop_reason.as_str(), report.events_processed), ("stopped", 0));
    blocker.batch_execute("rollback").await.unwrap();
    let report = {
        let mut config = config(&db, &source);
        config.limits.max_events = Some(3);
        run(config).await.unwrap()
    };
    assert_eq!(report.events_processed, 3);
    assert_eq!(db.one("select count(*) from shop.visits").await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_an_idle_run_does_not_wait_for_a_database_that_hangs() {
    let db = Db::new().await;
    let source = Script::mute();
    add(&source, &visits(1, 3));
    let stop = Stop::default();
    let host = Arc::new(Mirror::default());
    let running = tokio::spawn(ingest::run(config(&db, &source), host, stop.clone()));
    eventually("landed", async || db.one("select count(*) from shop.visits").await == "3").await;
    let blocker = Db::new_session(&db).await;
    blocker.batch_execute("begin; lock table sse_stream.offsets").await.unwrap();
    let start = Instant::now();
    stop.set();
    let report = running.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!((report.stop_reason.as_str(), report.position), ("stopped", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_beyond_the_source_comes_down_to_it() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 6));
    let mirror = Arc::new(Mirror::default());
    mirror.set("99999999");
    let mut first = config(&db, &source);
    first.limits.max_events = Some(4);
    assert_eq!(run_with(first, mirror.clone()).await.unwrap().position, 4);
    let report = run_with(config(&db, &source), mirror.clone()).await.unwrap();
    assert_eq!((report.first_offset, report.position), (Some(5), 6));
    assert_eq!(db.one("select count(*) from shop.raw").await, "6");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_absurd_id_does_not_stop_the_stream() {
    let db = Db::new().await;
    let source = Script::serve(true);
    let event = |id| (id, "stock", r#"{"sku":"a","level":1}"#);
    source.add_at(&[event(1), event(i64::MAX as u64), event(2)]);
    let mut config = config(&db, &source);
    config.limits.max_events = Some(3);
    let report = run(config).await.unwrap();
    assert_eq!((report.events_processed, report.position), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_is_read_from_its_beginning() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 5));
    land(&db, &source).await;
    source.begin("two", &[("visit", r#"{"visit":91}"#), ("visit", r#"{"visit":92}"#)]);
    let report = land(&db, &source).await;
    assert_eq!((report.epoch.as_deref(), report.position), (Some("two"), 2));
    assert_eq!(db.one("select count(*) from shop.visits").await, "7");
    assert_eq!(
        db.list("select epoch, count(*) from shop.raw group by 1 order by 1").await,
        ["one|5", "two|2"]
    );
    assert_eq!(db.list("select epoch from sse_stream.epochs order by 1").await, ["one", "two"]);
    assert_eq!(
        db.one("select epoch, position, high_water from sse_stream.offsets").await,
        "two|2|2"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_change_during_a_run_loses_and_doubles_nothing() {
    let db = Db::new().await;
    let source = Script::serve(false);
    add(&source, &visits(1, 5));
    let stop = Stop::default();
    let running =
        tokio::spawn(ingest::run(config(&db, &source), Arc::new(ingest::NoHost), stop.clone()));
    eventually("first epoch landed", async || {
        db.one("select count(*) from shop.visits").await == "5"
    })
    .await;
    source.begin("two", &[("visit", r#"{"visit":91}"#)]);
    eventually("second epoch landed", async || {
        db.one("select count(*) from shop.visits").await == "6"
    })
    .await;
    stop.set();
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.epoch.as_deref(), report.position), (Some("two"), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn jumps_are_gaps_where_offsets_are_dense_and_notices_always() {
    let told = [(4, "gap", "{}"), (5, "visit", r#"{"visit":5}"#), (9, "visit", r#"{"visit":9}"#)];
    let dense = PRESET.replacen(
        "name = \"shop\"",
        "name = \"shop\"\noffsets = \"dense\"\nfilters = [\"kind\"]",
        1,
    );
    let gaps = "select first_missed, last_missed, noticed_by from sse_stream.gaps order by 1";
    for (preset, query, expected) in [
        (dense.as_str(), "", &["1|4|in_band", "6|8|offset_jump"][..]),
        (dense.as_str(), "?kind=visit", &["1|4|in_band"]),
        (PRESET, "", &["1|4|in_band"]),
    ] {
        let db = Db::new().await;
        let source = Script::serve(true);
        source.add_at(&told);
        // What was noted is not noted again.
        for new in [expected.len(), 0] {
            let mut config = config(&db, &source);
            config.preset = ingest::Preset::parse(preset).unwrap();
            config.source.url.push_str(query);
            let report = run(config).await.unwrap();
            assert_eq!((report.gaps as usize, report.position), (new, 9));
            assert_eq!(db.list(gaps).await, expected);
            db.run("update sse_stream.offsets set position = 0").await;
        }
        assert_eq!(db.list("select epoch from sse_stream.epochs").await, ["one"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_are_told_that_a_silent_source_was_heard() {
    let db = Db::new().await;
    let source = Script::serve(false);
    add(&source, &visits(1, 1));
    let mut config = config(&db, &source);
    config.limits.timeout = Some(Duration::from_secs(5));
    let running = tokio::spawn(run(config));
    eventually("landed", async || db.one("select count(*) from shop.visits").await == "1").await;
    let first = db.one("select last_heard_at from sse_stream.offsets").await;
    eventually("heard again", async || {
        db.one("select last_heard_at from sse_stream.offsets").await != first
    })
    .await;
    assert!(db.one("select now() - last_heard_at < '2 s' from sse_stream.offsets").await == "t");
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_of_life_soon_after_a_commit_is_noted_without_waiting_for_the_next_one() {
    let db = Db::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = socket.read(&mut request);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            let event = "id: 1\nevent: visit\ndata: {\"visit\":1}\n\n";
            let _ = socket.write_all(format!("{head}{event}").as_bytes());
            // The commit is through by then, and what the books note is paced.
            std::thread::sleep(Duration::from_millis(700));
            let _ = socket.write_all(b": a sign\n\n");
            // Silent, but open.
            std::thread::sleep(Duration::from_secs(30));
        }
    });
    let mut config = config(&db, &Script::serve(true));
    config.source = sse::ClientConfig::new(format!("http://{address}/stream"));
    config.limits.timeout = Some(Duration::from_secs(20));
    let running = tokio::spawn(run(config));
    // `updated_at` is the commit's.
    let apart = "select coalesce(max(last_heard_at - updated_at), '0') from sse_stream.offsets";
    eventually("noted", async || {
        db.one(&format!("select ({apart}) between '0.1 s' and '0.9 s'")).await == "t"
    })
    .await;
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_leaves_its_line_in_the_history() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 4));
    land(&db, &source).await;
    assert_eq!(
        db.one("select stream, run_id, events, rows, stop_reason, error is null, ended_at is not null from sse_stream.runs").await,
        "shop|r1|4|8|end_of_stream|t|t"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_source_ends_at_once_closes_its_line_too() {
    let db = Db::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = socket.read(&mut request);
            let _ = socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
    });
    for _ in 0..10 {
        let mut config = config(&db, &Script::serve(true));
        config.source = sse::ClientConfig::new(format!("http://{address}/stream"));
        assert_eq!(run(config).await.unwrap_err().kind(), ErrorKind::SourceRejected);
    }
    let left = "select count(*) filter (where ended_at is null), count(error) from sse_stream.runs";
    assert_eq!(db.one(left).await, "0|10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_accepts_and_says_nothing_is_given_up() {
    let db = Db::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    let mut config = config(&db, &Script::serve(true));
    let url = format!("postgresql://a:b@127.0.0.1:{port}/x?sslmode=disable&connect_timeout=1");
    config.database = ingest::DatabaseConfig::from_url(&url).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), run(config)).await;
    let error = ended.expect("the run does not hang").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Database);
    assert!(error.to_string().contains("no answer within 1 s"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_key_land_once_though_the_source_goes_back_in_one_batch() {
    let db = Db::new().await;
    let source = Script::of(&[
        ("visit", r#"{"visit":1}"#),
        ("visit", r#"{"visit":2}"#),
        ("visit", r#"{"visit":3}"#),
    ]);
    source.add_bare(
        "id: 2\nevent: visit\ndata: {\"visit\":2}\n\nid: 3\nevent: visit\ndata: {\"visit\":3}\n\n",
    );
    land(&db, &source).await;
    // A batch that ends below its highest offset does not forget that one.
    source.add_bare("id: 2\nevent: visit\ndata: {\"visit\":2}\n\n");
    db.run("update sse_stream.offsets set position = 0").await;
    let mut config = config(&db, &source);
    config.limits.max_events = Some(6);
    run(config).await.unwrap();
    assert_eq!(db.one("select position, high_water from sse_stream.offsets").await, "2|3");
    land(&db, &source).await;
    assert_eq!(db.list("select visit_id from shop.visits order by 1").await, ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_comes_back_to_an_earlier_epoch_doubles_nothing() {
    let db = Db::new().await;
    let source = Script::serve(true);
    for (epoch, visits) in [("one", 1..3), ("two", 7..8), ("one", 1..4)] {
        let visits: Vec<String> = visits.map(|n| format!(r#"{{"visit":{n}}}"#)).collect();
        let events: Vec<(&str, &str)> =
            visits.iter().map(|data| ("visit", data.as_str())).collect();
        source.begin(epoch, &events);
        land(&db, &source).await;
    }
    assert_eq!(db.list("select visit_id from shop.visits order by 1").await, ["1", "2", "3", "7"]);
    let offset = "select epoch, position, high_water from sse_stream.offsets";
    assert_eq!(db.one(offset).await, "one|3|3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_names_its_epoch_late_is_read_on() {
    let db = Db::new().await;
    let source = Script::serve(true);
    source.begin("", &[("visit", r#"{"visit":1}"#), ("visit", r#"{"visit":2}"#)]);
    land(&db, &source).await;
    source.begin(
        "one",
        &[("visit", r#"{"visit":1}"#), ("visit", r#"{"visit":2}"#), ("visit", r#"{"visit":3}"#)],
    );
    assert_eq!(land(&db, &source).await.events_processed, 1);
    assert_eq!(db.one("select epoch, position from sse_stream.offsets").await, "one|3");
    assert_eq!(db.list("select id from shop.raw order by 1").await, ["1", "2", "3"]);
}

/// A mirror that a test can look at and change.
#[derive(Default)]
struct Mirror(Mutex<Option<String>>);

impl Mirror {
    fn set(&self, text: &str) {
        *self.0.lock().unwrap() = Some(text.into());
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Host for Mirror {
    fn has_mirror(&self) -> bool {
        true
    }

    fn read_mirror(&self) -> Result<Option<String>, String> {
        Ok(self.get())
    }

    fn write_mirror(&self, position: i64) -> Result<(), String> {
        self.set(&position.to_string());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_a_mirror_leaves_no_trap_for_one_with_a_mirror() {
    let db = Db::new().await;
    let source = Script::of(&[("visit", r#"{"visit":1}"#)]);
    land(&db, &source).await;
    let mirror = Arc::new(Mirror::default());
    mirror.set("0");
    let report = run_with(config(&db, &source), mirror.clone()).await.unwrap();
    assert_eq!(report.events_processed, 0);
    assert_eq!(mirror.get().as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_follows_and_a_changed_mirror_rewinds_once() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 10));
    let mirror = Arc::new(Mirror::default());
    let go = async || run_with(config(&db, &source), mirror.clone()).await;
    go().await.unwrap();
    assert_eq!(mirror.get().as_deref(), Some("10"));

    mirror.set("4");
    let report = go().await.unwrap();
    assert_eq!((report.first_offset, report.duplicates, report.position), (Some(5), 6, 10));
    assert_eq!(mirror.get().as_deref(), Some("10"));
    assert_eq!(db.one("select count(*) from shop.visits").await, "10");

    // What was shown before the last write is no request: a crash may have come in between.
    db.run("update sse_stream.offsets set mirrored = 10, previously_mirrored = 4").await;
    mirror.set("4");
    assert_eq!(go().await.unwrap().events_processed, 0);
    assert_eq!(mirror.get().as_deref(), Some("10"));

    for odd in ["eleven", "-3", "11"] {
        mirror.set(odd);
        let error = go().await.unwrap_err();
        assert_eq!(error.kind(), ingest::ErrorKind::Config, "{error}");
        assert_eq!(mirror.get().as_deref(), Some(odd));
        assert_eq!(db.one("select position, fence from sse_stream.offsets").await, "10|3");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_offset_the_run_starts_at_the_mirror() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 10));
    let mirror = Arc::new(Mirror::default());
    mirror.set("7");
    let report = run_with(config(&db, &source), mirror.clone()).await.unwrap();
    assert_eq!((report.first_offset, report.events_processed), (Some(8), 3));
    assert_eq!(mirror.get().as_deref(), Some("10"));
}

/// Serves `/events` pages of a fixed list; each connection answers one request.
fn pages(epoch: &'static str, events: u32) -> String {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            reader.read_line(&mut line).unwrap();
            let since: u32 = line.split(['=', '&', ' ']).nth(2).unwrap().parse().unwrap();
            let list: Vec<String> = (since + 1..=events)
                .take(40)
                .map(|n| format!(r#"{{"offset":{n},"event_type":"visit","visit":{n}}}"#))
                .collect();
            let body = format!(r#"{{"events":[{}]}}"#, list.join(","));
            let _ = write!(
                socket,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Epoch: {epoch}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_share_the_offset_with_the_stream_and_end_when_drained() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 10));
    land(&db, &source).await;

    let mut config = config(&db, &source);
    let layout = "[stream]\n[stream.pages]\nevents = \"/events\"\nid = \"/offset\"\ntype = \"/event_type\"\n";
    let text = PRESET.replacen("[stream]", layout, 1);
    let text = text.replacen("[stream]\n[stream.pages]", "[stream.pages]", 1);
    let text = text.replacen("    name = \"shop\"", "[stream]\nname = \"shop\"", 1);
    config.preset = ingest::Preset::parse(&text).unwrap();
    config.source = sse::ClientConfig::new(pages("one", 105));
    config.source_kind = ingest::SourceKind::Poll;
    let report = run(config).await.unwrap();
    assert_eq!((report.first_offset, report.last_offset), (Some(11), Some(105)));
    assert_eq!(report.stop_reason.as_str(), "end_of_stream");
    assert_eq!(
        db.one("select count(*), count(distinct visit_id) from shop.visits").await,
        "105|105"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_changed_during_a_run_is_followed_by_the_next() {
    let db = Db::new().await;
    let source = Script::serve(false);
    add(&source, &visits(1, 5));
    let mirror = Arc::new(Mirror::default());
    let mirrored = "select position, mirrored, previously_mirrored from sse_stream.offsets";
    let read_up_to = async |position: &'static str, change: Option<&str>| {
        let stop = Stop::default();
        let running = tokio::spawn(ingest::run(config(&db, &source), mirror.clone(), stop.clone()));
        eventually("landed", async || {
            db.one("select position from sse_stream.offsets").await == position
                && db.one("select count(*) from sse_stream.runs where ended_at is null").await
                    == "1"
        })
        .await;
        change.inspect(|text| mirror.set(text));
        stop.set();
        running.await.unwrap().unwrap()
    };
    read_up_to("5", None).await;
    assert_eq!(db.one(mirrored).await, "5|5|");
    add(&source, &visits(6, 2));
    read_up_to("7", None).await;
    // What was shown before is kept: it is what a mirror shows that could not be written.
    assert_eq!(db.one(mirrored).await, "7|7|5");
    read_up_to("7", Some("2")).await;
    assert_eq!((db.one(mirrored).await.as_str(), mirror.get().as_deref()), ("7|7|5", Some("2")));
    let mut next = config(&db, &source);
    next.limits.max_events = Some(5);
    let report = run_with(next, mirror.clone()).await.unwrap();
    assert_eq!((report.first_offset, report.duplicates, report.position), (Some(3), 5, 7));
    assert_eq!(db.one(mirrored).await, "7|7|2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_was_begun_is_not_forgotten() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 5));
    let mirror = Arc::new(Mirror::default());
    run_with(config(&db, &source), mirror.clone()).await.unwrap();
    mirror.set("2");
    // Nobody answers, so nothing is committed that would move the position.
    let mut unreachable = config(&db, &source);
    unreachable.source = sse::ClientConfig::new("http://127.0.0.1:1/stream");
    unreachable.limits.timeout = Some(Duration::from_millis(200));
    run_with(unreachable, mirror.clone()).await.unwrap_err();
    assert_eq!(db.one("select position, high_water from sse_stream.offsets").await, "2|5");
    let report = run_with(config(&db, &source), mirror.clone()).await.unwrap();
    assert_eq!((report.first_offset, report.duplicates), (Some(3), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_in_pieces_doubles_nothing_without_a_key() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 6));
    land(&db, &source).await;
    db.run("update sse_stream.offsets set position = 0").await;
    for (limit, position) in [(2, "2|6"), (2, "4|6"), (2, "6|6")] {
        let mut config = config(&db, &source);
        config.limits.max_events = Some(limit);
        assert_eq!(run(config).await.unwrap().duplicates, 2);
        let stands = db.one("select position, high_water from sse_stream.offsets").await;
        assert_eq!(stands, position);
    }
    assert_eq!(db.one("select count(*) from shop.visits").await, "6");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_that_has_no_events_yet_begins_at_its_beginning() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 5));
    land(&db, &source).await;
    source.begin("two", &[]);
    let mirror = Arc::new(Mirror::default());
    let report = run_with(config(&db, &source), mirror.clone()).await.unwrap();
    assert_eq!((report.events_processed, mirror.get().as_deref()), (0, Some("0")));
    let stands = "select epoch, position, high_water from sse_stream.offsets";
    assert_eq!(db.one(stands).await, "two|0|0");
    assert_eq!(db.list("select epoch from sse_stream.epochs order by 1").await, ["one", "two"]);
    add(&source, &visits(91, 7));
    let report = land(&db, &source).await;
    assert_eq!((report.first_offset, report.events_processed), (Some(1), 7));
    assert_eq!(db.one("select count(*) from shop.visits").await, "12");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_before_an_epoch_ends_is_committed_in_it() {
    let db = Db::new().await;
    let source = Script::serve(true);
    add(&source, &visits(1, 3));
    let mut config = config(&db, &source);
    // Only the change of epochs, or the end, has a reason to commit.
    config.batch.linger = Duration::from_secs(3600);
    let stop = Stop::default();
    let source_after = source.clone();
    let running = tokio::spawn(ingest::run(config, Arc::new(ingest::NoHost), stop));
    eventually("read", async || source_after.requests() > 0).await;
    source.begin("two", &[("visit", r#"{"visit":91}"#)]);
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.epoch.as_deref(), report.position), (Some("two"), 1));
    assert_eq!(
        db.list("select epoch, id from shop.raw order by 1, 2").await,
        ["one|1", "one|2", "one|3", "two|1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_counted_by_epoch_and_once_for_all_batches() {
    let db = Db::new().await;
    let source = Script::serve(true);
    let visit = r#"{"visit":1}"#;
    source.add_at(&[(1, "visit", visit), (4, "visit", visit), (5, "visit", visit)]);
    source.add_at(&[(6, "visit", visit), (8, "visit", visit)]);
    let dense = PRESET.replacen("name = \"shop\"", "name = \"shop\"\noffsets = \"dense\"", 1);
    let one_by_one = || {
        let mut config = config(&db, &source);
        config.preset = ingest::Preset::parse(&dense).unwrap();
        config.batch.events = 1;
        config.batch.max_bytes = 1;
        config
    };
    assert_eq!(run(one_by_one()).await.unwrap().gaps, 2);
    source.begin("two", &[("visit", visit)]);
    source.add_at(&[(3, "visit", visit)]);
    assert_eq!(run(one_by_one()).await.unwrap().gaps, 1);
    let gaps = "select epoch, first_missed, last_missed from sse_stream.gaps order by 1, 2";
    assert_eq!(db.list(gaps).await, ["one|2|3", "one|7|7", "two|2|2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_waits_for_a_slow_database_is_not_idle() {
    let db = Db::new().await;
    let source = Script::mute();
    add(&source, &visits(1, 40));
    let mut config = config(&db, &source);
    config.limits.idle_timeout = Some(Duration::from_millis(300));
    config.batch.max_bytes = 400;
    let blocker = Db::new_session(&db).await;
    blocker.batch_execute("begin; lock table shop.visits in access exclusive mode").await.unwrap();
    let running = tokio::spawn(run(config));
    tokio::time::sleep(Duration::from_secs(1)).await;
    blocker.batch_execute("rollback").await.unwrap();
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.stop_reason.as_str(), report.events_processed), ("idle", 40));
}
