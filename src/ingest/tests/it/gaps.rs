//! Offsets that the source passed over: how they are noticed, and how they come after all.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingest::{BadEvents, ErrorKind, GapPolicy, Preset, RunConfig, Stop};

use crate::support::{Db, PRESET, Script, config, eventually, run, run_with};

/// The shop's feed with dense offsets and a REST twin.
const DENSE: &str = "offsets = \"dense\"\n";
const HEAD: &str = "name = \"shop\"\nanchor_header = \"X-After\"\n";
const PAGES: &str =
    "\n[stream.pages]\nevents = \"/events\"\nid = \"/offset\"\ntype = \"/type\"\n[[route]]";

fn preset(offsets: &str) -> Preset {
    let text = PRESET.replacen("name = \"shop\"\n", &format!("{HEAD}{offsets}"), 1);
    Preset::parse(&text.replacen("[[route]]", PAGES, 1)).unwrap()
}

fn visit(offset: i64) -> String {
    format!(r#"{{"offset":{offset},"type":"visit","visit":{offset}}}"#)
}

/// What a request asks for.
#[derive(Clone, Debug)]
struct Asked {
    /// Path and query.
    target: String,
    last_event_id: Option<String>,
    authorized: bool,
}

/// A server that answers each request with what a function makes of it, and closes.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(answer: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || {
                    let request = read_request(&socket);
                    log.lock().unwrap().push(request.clone());
                    let _ = (&socket).write_all(answer(&request).as_bytes());
                });
            }
        });
        Self { port, asked }
    }

    /// The twin: pages of the visits with these offsets.
    fn twin(epoch: &'static str, offsets: impl IntoIterator<Item = i64>) -> Self {
        let offsets: Vec<i64> = offsets.into_iter().collect();
        Self::start(move |asked| page(epoch, &offsets, asked))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read_request(socket: &TcpStream) -> Asked {
    let mut lines = BufReader::new(socket).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let mut asked = Asked {
        target: first.split(' ').nth(1).unwrap_or_default().to_owned(),
        last_event_id: None,
        authorized: false,
    };
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(id) = line.to_ascii_lowercase().strip_prefix("last-event-id:") {
            asked.last_event_id = Some(id.trim().to_owned());
        }
        asked.authorized |= line.to_ascii_lowercase().starts_with("authorization: bearer");
    }
    asked
}

fn page(epoch: &str, offsets: &[i64], asked: &Asked) -> String {
    let number = |name: &str| -> i64 {
        let (_, rest) = asked.target.split_once(&format!("{name}=")).unwrap();
        rest.split('&').next().unwrap().parse().unwrap()
    };
    let (since, limit) = (number("since"), number("limit"));
    assert!((1..=1000).contains(&limit), "{limit}");
    let wanted = offsets.iter().filter(|offset| **offset > since).take(limit as usize);
    let events: Vec<String> = wanted.map(|offset| visit(*offset)).collect();
    let body = format!("{{\"events\":[{}]}}", events.join(","));
    format!(
        "HTTP/1.1 200 OK\r\nX-Epoch: {epoch}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// An answer of the stream with these visits.
fn stream(headers: &str, offsets: &[i64]) -> String {
    let blocks = offsets.iter().map(|o| format!("id: {o}\nevent: visit\ndata: {}\n\n", visit(*o)));
    let body: String = blocks.collect();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Epoch: one\r\n{headers}Connection: close\r\n\r\nretry: 10\n\n{body}"
    )
}

const NOTHING_MORE: &str = "HTTP/1.1 204 No Content\r\nX-Epoch: one\r\nConnection: close\r\n\r\n";

/// A stream of visits that ends once everything was read.
fn script(offsets: impl IntoIterator<Item = i64>) -> Script {
    let source = Script::serve(true);
    add(&source, offsets);
    source
}

fn add(source: &Script, offsets: impl IntoIterator<Item = i64>) {
    for offset in offsets {
        source.add_at(&[(offset as u64, "visit", &visit(offset))]);
    }
}

fn settings(db: &Db, source: &Script, twin: Option<&Server>) -> RunConfig {
    RunConfig {
        preset: preset(DENSE),
        backfill_url: twin.map(|twin| twin.url("events")),
        ..config(db, source)
    }
}

/// Open and closed gaps.
async fn ledger(db: &Db) -> Vec<String> {
    db.list(
        "select first_missed || '..' || last_missed || ' ' || noticed_by || ' '
                || case when repaired_at is null then 'open' else 'repaired' end
         from sse_stream.gaps order by epoch, first_missed, last_missed",
    )
    .await
}

/// Every visit once, in the key-less table and in the raw one.
async fn assert_visits(db: &Db, expected: impl IntoIterator<Item = i64>) {
    let expected: Vec<String> = expected.into_iter().map(|n| n.to_string()).collect();
    assert_eq!(db.list("select visit_id from shop.visits order by 1").await, expected);
    assert_eq!(db.list("select id from shop.raw order by 1").await, expected);
    assert!(db.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_fetched_landed_and_marked_in_the_same_run() {
    let db = Db::new().await;
    let source = script([1, 2, 7, 8]);
    let twin = Server::twin("one", 1..=8);
    let report = run(settings(&db, &source, Some(&twin))).await.unwrap();
    assert_eq!((report.gaps, report.gaps_repaired, report.events_processed), (1, 1, 8));
    assert_eq!((report.position, report.first_offset, report.last_offset), (8, Some(1), Some(8)));
    assert_eq!(ledger(&db).await, ["3..6 offset_jump repaired"]);
    assert_visits(&db, 1..=8).await;
    assert_eq!(
        db.one("select position, high_water, epoch from sse_stream.offsets").await,
        "8|8|one"
    );
    let asked = twin.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].target.contains("since=2&limit=4"), "{}", asked[0].target);
    // A second run has nothing to ask and nothing to land.
    let report = run(settings(&db, &source, Some(&twin))).await.unwrap();
    assert_eq!((report.events_processed, report.gaps, twin.asked().len()), (0, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_of_an_earlier_run_is_fetched_page_by_page() {
    let db = Db::new().await;
    let source = script([1, 2502, 2503]);
    let report = run(settings(&db, &source, None)).await.unwrap();
    assert_eq!((report.gaps, report.gaps_repaired), (1, 0));
    assert_eq!(ledger(&db).await, ["2..2501 offset_jump open"]);
    let twin = Server::twin("one", 1..=2503);
    let report = run(settings(&db, &source, Some(&twin))).await.unwrap();
    assert_eq!((report.gaps, report.gaps_repaired, report.events_processed), (0, 1, 2500));
    assert_eq!(twin.asked().len(), 3);
    assert_eq!(
        ledger(&db).await,
        [
            "2..1001 offset_jump repaired",
            "1002..2001 offset_jump repaired",
            "2002..2501 offset_jump repaired"
        ]
    );
    assert_visits(&db, 1..=2503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_twin_lacks_stays_open_until_a_later_run() {
    let db = Db::new().await;
    let source = script([1, 2, 7]);
    let twin = Server::twin("one", [1, 2, 4, 5, 7]);
    let report = run(settings(&db, &source, Some(&twin))).await.unwrap();
    assert_eq!((report.gaps, report.gaps_repaired, twin.asked().len()), (1, 0, 1));
    let left = ["3..3 offset_jump open", "4..5 offset_jump repaired", "6..6 offset_jump open"];
    assert_eq!(ledger(&db).await, left);
    assert_visits(&db, [1, 2, 4, 5, 7]).await;
    // A twin that is down, one that answers for another history, one without the rest.
    let down = Server::start(|_| "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into());
    for twin in [down, Server::twin("two", 1..=9), Server::twin("one", [])] {
        let report = run(settings(&db, &source, Some(&twin))).await.unwrap();
        assert_eq!((report.gaps_repaired, report.events_processed), (0, 0));
        assert_eq!(ledger(&db).await, left);
        assert!((1..=2).contains(&twin.asked().len()));
    }
    let twin = Server::twin("one", 1..=7);
    let report = run(settings(&db, &source, Some(&twin))).await.unwrap();
    assert_eq!((report.gaps_repaired, report.events_processed), (2, 2));
    assert!(ledger(&db).await.iter().all(|gap| gap.ends_with("repaired")));
    assert_visits(&db, 1..=7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_may_bring_the_missed_events_itself() {
    let db = Db::new().await;
    let source = script([1, 2, 7]);
    run(settings(&db, &source, None)).await.unwrap();
    for (has, expected) in [
        (
            vec![4],
            vec!["3..3 offset_jump open", "4..4 offset_jump repaired", "5..6 offset_jump open"],
        ),
        (
            vec![3, 4, 5, 6],
            vec![
                "3..3 offset_jump repaired",
                "4..4 offset_jump repaired",
                "5..6 offset_jump repaired",
            ],
        ),
        (vec![3, 4, 5, 6], vec![]),
    ] {
        db.run("update sse_stream.offsets set position = 0").await;
        source.begin("one", &[]);
        add(&source, [vec![1, 2], has.clone(), vec![7]].concat());
        let report = run(settings(&db, &source, None)).await.unwrap();
        assert_eq!((report.gaps, report.position), (0, 7));
        if !expected.is_empty() {
            assert_eq!(ledger(&db).await, expected);
        }
        assert_visits(&db, [vec![1, 2], has, vec![7]].concat()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_to_fail_spares_what_could_be_repaired() {
    for (twin, error) in [
        (None, Some("names no REST twin")),
        (Some(Server::twin("one", [3])), Some("could not give")),
        (Some(Server::twin("one", 1..=9)), None),
    ] {
        let db = Db::new().await;
        let source = script([1, 2, 7]);
        let strict =
            || RunConfig { gap_policy: GapPolicy::Fail, ..settings(&db, &source, twin.as_ref()) };
        let result = run(strict()).await;
        assert_eq!(db.one("select position from sse_stream.offsets").await, "7");
        assert!(!ledger(&db).await.is_empty());
        match error {
            None => assert_eq!(result.unwrap().gaps_repaired, 1),
            Some(part) => {
                let error = result.unwrap_err();
                assert!(error.kind() == ErrorKind::BadEvent && !error.is_transient());
                let text = error.to_string();
                assert!(text.contains("3 to 6") && text.contains(part), "{text}");
                let written = db.one("select count(error) from sse_stream.runs").await;
                assert_eq!(written, "1");
            }
        }
        // Said once: the stream goes on behind the gap.
        add(&source, [8]);
        assert_eq!(run(strict()).await.unwrap().position, 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_never_repaired_from_another_epoch() {
    let db = Db::new().await;
    let source = script([1, 2, 7]);
    run(settings(&db, &source, None)).await.unwrap();
    source.begin("two", &[]);
    add(&source, [1, 4]);
    let twin = Server::twin("two", 1..=9);
    let report = run(settings(&db, &source, Some(&twin))).await.unwrap();
    assert_eq!((report.epoch.as_deref(), report.gaps, report.gaps_repaired), (Some("two"), 1, 1));
    let gaps = "select epoch, first_missed, last_missed, repaired_at is null from sse_stream.gaps order by 1";
    assert_eq!(db.list(gaps).await, ["one|3|6|t", "two|2|3|f"]);
    assert_eq!(db.one("select count(*) from shop.raw where epoch = 'one'").await, "3");
    assert_eq!(db.one("select count(*) from shop.raw where epoch = 'two'").await, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_in_the_middle_of_a_repair_doubles_nothing() {
    let db = Db::new().await;
    let source = script([1, 2002]);
    run(settings(&db, &source, None)).await.unwrap();
    // The session dies when the second page is landed, once.
    db.run(
        "create sequence shop.deaths;
         create function shop.die() returns trigger language plpgsql security definer as $$
             begin
                 if new.visit_id = 1500 and nextval('shop.deaths') = 1 then
                     perform pg_terminate_backend(pg_backend_pid());
                 end if;
                 return new;
             end $$;
         create trigger visits_die before insert on shop.visits
             for each row execute function shop.die();",
    )
    .await;
    let twin = Server::twin("one", 1..=2002);
    let report = run(settings(&db, &source, Some(&twin))).await.unwrap();
    assert_eq!(db.one("select last_value from shop.deaths").await, "2");
    assert_eq!((report.gaps_repaired, report.events_processed), (1, 2000));
    assert_visits(&db, 1..=2002).await;
    assert!(ledger(&db).await.iter().all(|gap| gap.ends_with("repaired")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_off_in_the_middle_of_a_repair_doubles_nothing() {
    let db = Db::new().await;
    let source = script([1, 2502]);
    run(settings(&db, &source, None)).await.unwrap();
    // The twin hangs at the second page: the run is given up there, as a killed one would be.
    let all: Vec<i64> = (1..=2502).collect();
    let slow = Server::start(move |asked| {
        if !asked.target.contains("since=1&") {
            std::thread::sleep(Duration::from_secs(60));
        }
        page("one", &all, asked)
    });
    let running = tokio::spawn(run(settings(&db, &source, Some(&slow))));
    eventually("the first page has landed", async || {
        db.one("select count(*) from shop.visits").await == "1002"
    })
    .await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let left = ["2..1001 offset_jump repaired", "1002..2501 offset_jump open"];
    assert_eq!(ledger(&db).await, left);
    let twin = Server::twin("one", 1..=2502);
    let report = run(settings(&db, &source, Some(&twin))).await.unwrap();
    assert_eq!((report.gaps_repaired, report.events_processed), (1, 1500));
    assert!(twin.asked()[0].target.contains("since=1001&"));
    assert_visits(&db, 1..=2502).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_stream_does_not_wait_for_the_twin() {
    let db = Db::new().await;
    let source = Script::serve(false);
    add(&source, [1, 2, 7]);
    let slow = Server::start(|asked| {
        std::thread::sleep(Duration::from_secs(4));
        page("one", &[3, 4, 5, 6], asked)
    });
    let stop = Stop::default();
    let settings = settings(&db, &source, Some(&slow));
    let begun = std::time::Instant::now();
    let running = tokio::spawn(ingest::run(settings, Arc::new(ingest::NoHost), stop.clone()));
    eventually("the twin is asked", async || !slow.asked().is_empty()).await;
    add(&source, [8, 9]);
    eventually("the live events land", async || {
        db.one("select max(visit_id) from shop.visits").await == "9"
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(4), "the stream waited for the twin");
    eventually("the gap is repaired", async || {
        db.one("select count(*) from shop.visits").await == "9"
    })
    .await;
    stop.set();
    assert_eq!(running.await.unwrap().unwrap().gaps_repaired, 1);
    assert_visits(&db, 1..=9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_beyond_what_was_asked_is_a_gap() {
    for offsets in [DENSE, ""] {
        let db = Db::new().await;
        let told = AtomicBool::new(false);
        let source = Server::start(move |asked| match asked.last_event_id.as_deref() {
            Some("0") => stream("X-After: 0\r\n", &[1, 2]),
            // Nothing comes with the anchor at first: it counts all the same.
            Some("2") if !told.swap(true, Ordering::SeqCst) => stream("X-After: 5\r\n", &[]),
            Some("2") => stream("X-After: 5\r\n", &[6]),
            Some("6") => stream("X-After: urn:7\r\n", &[7]),
            _ => NOTHING_MORE.into(),
        });
        let mut settings = config(&db, &Script::serve(true));
        settings.source.url = source.url("stream");
        settings.preset = preset(offsets);
        let report = run(settings).await.unwrap();
        assert_eq!((report.gaps, report.position), (1, 7));
        assert_eq!(ledger(&db).await, ["3..5 anchor open"]);
        assert_visits(&db, [1, 2, 6, 7]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_gone_leaves_a_gap_up_to_the_oldest() {
    for offsets in [DENSE, ""] {
        let db = Db::new().await;
        let source = Server::start(|asked| match asked.last_event_id.as_deref() {
            Some("0") => stream("", &[1, 2]),
            Some("2") => "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n".into(),
            None => stream("", &[6, 7]),
            _ => NOTHING_MORE.into(),
        });
        let mut settings = config(&db, &Script::serve(true));
        settings.source.url = source.url("stream");
        settings.preset = preset(offsets);
        let report = run(settings).await.unwrap();
        assert_eq!((report.gaps, report.position), (1, 7));
        assert_eq!(ledger(&db).await, ["3..5 gone open"]);
        assert_visits(&db, [1, 2, 6, 7]).await;
    }
    // A source that has nothing for anybody is an error, and no loop.
    let db = Db::new().await;
    let source = Server::start(|_| "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n".into());
    let mut settings = config(&db, &Script::serve(true));
    settings.source.url = source.url("stream");
    assert_eq!(run(settings).await.unwrap_err().kind(), ErrorKind::SourceRejected);
    assert_eq!(source.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_about_sparse_offsets_is_an_upper_bound() {
    let db = Db::new().await;
    let source = Script::serve(true);
    source.add_at(&[(1, "visit", &visit(1)), (9, "gap", "{}"), (12, "visit", &visit(12))]);
    let twin = Server::twin("one", [1, 4, 8, 12]);
    let settings = RunConfig { preset: preset(""), ..settings(&db, &source, Some(&twin)) };
    let report = run_with(settings, Arc::new(ingest::NoHost)).await.unwrap();
    assert_eq!((report.gaps, report.gaps_repaired, report.position), (1, 1, 12));
    assert_eq!(ledger(&db).await, ["2..9 in_band repaired"]);
    assert_visits(&db, [1, 4, 8, 12]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_the_stream_reach_no_twin_elsewhere() {
    for elsewhere in [false, true] {
        let db = Db::new().await;
        let feed = || {
            Server::start(|asked| match asked.last_event_id.as_deref() {
                _ if asked.target.starts_with("/events") => page("one", &[1, 2, 3], asked),
                Some("0") => stream("", &[1, 3]),
                _ => NOTHING_MORE.into(),
            })
        };
        let (source, other) = (feed(), feed());
        let twin = if elsewhere { &other } else { &source };
        let mut settings = settings(&db, &Script::serve(true), Some(twin));
        settings.source.url = source.url("stream");
        settings.source.headers = vec![("Authorization".into(), "Bearer t0ken".into())];
        assert_eq!(run(settings).await.unwrap().gaps_repaired, 1);
        let pages = twin.asked().into_iter().filter(|asked| asked.target.starts_with("/events"));
        assert!(pages.map(|asked| asked.authorized).eq([!elsewhere]));
        assert!(source.asked()[0].authorized);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_in_a_gap_fails_the_run_by_policy_and_leaves_the_offset_alone() {
    let db = Db::new().await;
    let source = script([1, 2, 7]);
    let twin = Server::start(|asked| {
        page("one", &[3, 4, 5, 6], asked).replace(r#""visit":5"#, r#""vizit":5"#)
    });
    let strict = RunConfig { bad_events: BadEvents::Fail, ..settings(&db, &source, Some(&twin)) };
    let error = run(strict).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadEvent);
    assert!(error.to_string().contains("id \"5\""), "{error}");
    let offset = "select position, high_water from sse_stream.offsets";
    assert_eq!(db.one(offset).await, "7|7");
    assert_eq!(ledger(&db).await, ["3..4 offset_jump repaired", "5..6 offset_jump open"]);
    assert_visits(&db, [1, 2, 3, 4, 7]).await;
    let report = run(settings(&db, &source, Some(&twin))).await.unwrap();
    assert_eq!((report.dead_letters, report.gaps_repaired, report.position), (1, 1, 7));
    assert_eq!(db.dead().await, ["5|missing_field|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_twice_in_one_batch_lands_once_without_a_key_too() {
    let db = Db::new().await;
    // A source that forgets the id it is given, within the time of one batch.
    let times = AtomicU64::new(0);
    let source = Server::start(move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 => stream("", &[1, 2]),
        1 => stream("", &[1, 2, 3]),
        _ => NOTHING_MORE.into(),
    });
    let mut settings = config(&db, &Script::serve(true));
    settings.source.url = source.url("stream");
    settings.preset = preset(DENSE);
    settings.batch.linger = Duration::from_secs(2);
    let report = run(settings).await.unwrap();
    assert_eq!((report.batches_processed, report.events_processed, report.duplicates), (1, 5, 2));
    assert_visits(&db, 1..=3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_go_down_within_a_batch_lower_no_high_water() {
    let db = Db::new().await;
    let source = script([1, 2, 7, 5]);
    let mut settings = settings(&db, &source, None);
    settings.limits.max_events = Some(4);
    let report = run(settings).await.unwrap();
    assert_eq!((report.gaps, report.position, report.batches_processed), (2, 5, 1));
    assert_eq!(db.one("select high_water from sse_stream.offsets").await, "7");
    assert_eq!(ledger(&db).await, ["3..4 offset_jump open", "6..6 offset_jump open"]);
    // What follows 5 has landed before.
    source.begin("one", &[]);
    add(&source, [5, 6, 7]);
    let report = run(RunConfig { preset: preset(DENSE), ..config(&db, &source) }).await.unwrap();
    assert_eq!((report.events_processed, report.duplicates, report.position), (2, 1, 7));
    assert_eq!(ledger(&db).await, ["3..4 offset_jump open", "6..6 offset_jump repaired"]);
    assert_visits(&db, [1, 2, 5, 6, 7]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_skipped_is_not_fetched() {
    let db = Db::new().await;
    let source = script([1, 2, 7]);
    run(settings(&db, &source, None)).await.unwrap();
    db.run("update sse_stream.gaps set noticed_by = 'reset'").await;
    let twin = Server::twin("one", 1..=7);
    run(settings(&db, &source, Some(&twin))).await.unwrap();
    assert!(twin.asked().is_empty());
    assert_eq!(ledger(&db).await, ["3..6 reset open"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_alone_moves_the_position() {
    let db = Db::new().await;
    let told = AtomicBool::new(false);
    let source = Server::start(move |_| match told.swap(true, Ordering::SeqCst) {
        false => stream("X-After: 5\r\n", &[]),
        true => NOTHING_MORE.into(),
    });
    let mut settings = config(&db, &Script::serve(true));
    settings.source.url = source.url("stream");
    settings.preset = preset("");
    assert_eq!(run(settings).await.unwrap().position, 5);
    assert_eq!(ledger(&db).await, ["1..5 anchor open"]);
}
