//! Streams whose ids are no offsets: texts to resume from, ids inside the data, no ids at all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ingest::{DatabaseConfig, ErrorKind, GapPolicy, Limits, ResumeClass, RunConfig, StopReason};

use crate::feed::{self, Answer, Feed};
use crate::recovery::{Cut, Cutter};
use crate::support::{Db, Script, config, run, split_preset};

/// A route without a key, which shows each repetition.
const VISIT_ROUTE: &str = r#"
    [[route]]
    event = "visit"
    table = "shop.visits"
    mode = "append"
    columns = { visit_id = "/visit", seen = "/id" }
"#;

fn preset(stream: &str) -> String {
    feed::preset(stream) + VISIT_ROUTE
}

/// Events `from..=to` with ids like the text `k-7`, in the SSE field and in the data.
fn events(from: u32, to: u32) -> String {
    let event =
        |n| format!("id: k-{n}\nevent: visit\ndata: {{\"id\":\"k-{n}\",\"visit\":{n}}}\n\n");
    (from..=to).map(event).collect()
}

/// What follows the event that a token names, two at a time, up to event 5.
fn after(token: Option<&str>) -> Answer {
    let last: u32 = token.map_or(0, |token| token.strip_prefix("k-").unwrap().parse().unwrap());
    match last {
        5.. => Answer::nothing_more(),
        _ => Answer::stream("", &events(last + 1, (last + 2).min(5))),
    }
}

const OFFSET: &str =
    "select position, high_water, highest, resume_token, writers from sse_stream.streams";
const VISITS: &str = "select visit_id, count(*) from shop.visits group by 1 order by 1";

fn limited(config: RunConfig, max: u64) -> RunConfig {
    let limits = Limits { max_events: Some(max), ..config.limits };
    RunConfig { limits, ..config }
}

#[tokio::test]
async fn text_ids_are_numbered_here_and_resumed_from_their_text() {
    let db = Db::new().await;
    let feed = Feed::start(|asked| after(asked.header("last-event-id")));
    let text = preset("ids = \"text\"");
    // Several writers would number events by chance.
    let settings = || RunConfig { writers: 4, ..feed.config(&db, "stream", &text) };

    let report = run(limited(settings(), 3)).await.unwrap();
    assert_eq!((report.position, report.resume_class), (3, ResumeClass::Replayable));
    assert_eq!(db.one(OFFSET).await, "3|3|3|k-3|1");
    let report = run(settings()).await.unwrap();
    assert_eq!(report.stop_reason, StopReason::EndOfStream);
    assert_eq!((report.events_processed, report.duplicates, report.gaps), (2, 0, 0));
    assert_eq!(db.one(OFFSET).await, "5|5|5|k-5|1");
    assert_eq!(db.list(VISITS).await, ["1|1", "2|1", "3|1", "4|1", "5|1"]);
    let asked: Vec<_> =
        feed.asked().iter().map(|asked| asked.header("last-event-id").map(str::to_owned)).collect();
    let asked: Vec<&str> = asked.iter().map(|id| id.as_deref().unwrap_or("-")).collect();
    assert_eq!(asked, ["-", "k-2", "k-3", "k-5"]);
}

#[tokio::test]
async fn ids_in_the_data_are_sent_back_in_the_query() {
    let db = Db::new().await;
    let feed = Feed::start(|asked| match asked.query("since") {
        // What the URL says counts until there is an id.
        Some("all") => after(None),
        since => after(since),
    });
    let text = preset("id = \"/id\"\nids = \"text\"\nresume = { query = \"since\" }");
    let path = "feed/sse?since=all&filter=x%20y";
    run(limited(feed.config(&db, path, &text), 3)).await.unwrap();
    assert_eq!(db.one(OFFSET).await, "3|3|3|k-3|1");
    run(feed.config(&db, path, &text)).await.unwrap();
    assert_eq!(db.list(VISITS).await, ["1|1", "2|1", "3|1", "4|1", "5|1"]);
    let asked: Vec<String> = feed
        .asked()
        .iter()
        .map(|asked| {
            assert_eq!(asked.header("last-event-id"), None);
            assert_eq!(
                asked.query("filter"),
                Some("x+y").filter(|_| asked.query("since") != Some("all")).or(Some("x%20y"))
            );
            asked.query("since").unwrap().to_owned()
        })
        .collect();
    assert_eq!(asked, ["all", "k-2", "k-3", "k-5"]);
}

/// Forty events, three with each answer.
fn forty() -> Feed {
    Feed::start(|asked| {
        let token = asked.header("last-event-id");
        let last = token.map_or(0, |token| token.strip_prefix("k-").unwrap().parse().unwrap());
        match last {
            40.. => Answer::nothing_more(),
            _ => Answer::stream("", &events(last + 1, (last + 3).min(40))),
        }
    })
}

/// Rows without a key show each repetition, and the numbers each confusion.
async fn all_forty_once(db: &Db) {
    let wanted: Vec<String> = (1..=40).map(|n| format!("{n}|1")).collect();
    assert_eq!(db.list(VISITS).await, wanted);
    let raw = "select id, data->>'id' from shop.raw order by 1";
    let wanted: Vec<String> = (1..=40).map(|n| format!("{n}|k-{n}")).collect();
    assert_eq!(db.list(raw).await, wanted);
    assert_eq!(db.one(OFFSET).await, "40|40|40|k-40|1");
}

#[tokio::test]
async fn a_session_lost_around_a_commit_doubles_no_event_of_a_stream_with_text_ids() {
    for cut in [Cut::InCopy, Cut::BeforeCommit, Cut::AfterCommit] {
        let db = Db::new().await;
        let cutter = Cutter::before(&db, cut, 4);
        let feed = forty();
        let mut settings = feed.config(&db, "", &preset("ids = \"text\""));
        settings.database = DatabaseConfig::from_url(&cutter.url(&db)).unwrap();
        let report = run(settings).await.unwrap();
        assert_eq!(cutter.left.load(Ordering::SeqCst), 0, "{cut:?}");
        assert_eq!((report.events_processed, report.duplicates), (40, 0), "{cut:?}");
        all_forty_once(&db).await;
    }
}

#[tokio::test]
async fn runs_that_die_anywhere_double_no_event_of_a_stream_with_text_ids() {
    let db = Db::new().await;
    let feed = forty();
    let mut deaths = 0;
    for time in 0.. {
        let settings = feed.config(&db, "", &preset("ids = \"text\""));
        let time = Duration::from_millis(60 + time * 17);
        match tokio::time::timeout(time, Box::pin(run(settings))).await {
            Ok(report) => {
                assert_eq!(report.unwrap().stop_reason, StopReason::EndOfStream);
                break;
            }
            Err(_) => deaths += 1,
        }
    }
    assert!(deaths > 0);
    all_forty_once(&db).await;
}

#[tokio::test]
async fn an_event_whose_id_cannot_be_sent_back_is_a_dead_letter() {
    let db = Db::new().await;
    let long = "x".repeat(5000);
    let body =
        format!("data: {{\"visit\":1}}\n\nid: {long}\ndata: {{\"visit\":2}}\n\n{}", events(1, 1));
    let feed = Feed::start(move |asked| match asked.before {
        0 => Answer::stream("", &body),
        _ => Answer::nothing_more(),
    });
    let report = run(feed.config(&db, "", &preset("ids = \"text\""))).await.unwrap();
    assert_eq!((report.events_processed, report.dead_letters, report.position), (3, 2, 1));
    assert_eq!(db.dead().await, ["|missing_id|1", "|missing_id|1"]);
    assert_eq!(db.one(OFFSET).await, "1|1|1|k-1|1");
}

#[tokio::test]
async fn without_ids_each_connection_is_a_gap_of_unknown_size() {
    let db = Db::new().await;
    let feed = Feed::start(|asked| match asked.before {
        0 => Answer::stream("", &events(1, 2)),
        // Nothing came before this one broke off: the gap is the same.
        1 => Answer::stream("", ":\n\n"),
        2 => Answer::stream("", &events(5, 6)),
        _ => Answer::nothing_more(),
    });
    let text = preset("ids = \"none\"");
    let fail = |config| RunConfig { gap_policy: GapPolicy::Fail, ..config };
    let report = run(fail(feed.config(&db, "", &text))).await.unwrap();
    assert_eq!((report.events_processed, report.gaps, report.position), (4, 1, 5));
    assert_eq!(report.resume_class, ResumeClass::None);
    let gaps = "select first_missed, last_missed, noticed_by from sse_stream.gaps order by 1";
    assert_eq!(db.list(gaps).await, ["3|3|reconnect"]);
    assert_eq!(db.list("select id from shop.raw order by 1").await, ["1", "2", "4", "5"]);
    assert_eq!(db.one(OFFSET).await, "5|5|5||1");

    // The next run begins with such a gap as well; equal events are new ones.
    let feed = Feed::start(|asked| match asked.before {
        0 => Answer::stream("", &events(6, 6)),
        _ => Answer::nothing_more(),
    });
    let report = run(feed.config(&db, "", &text)).await.unwrap();
    assert_eq!((report.duplicates, report.gaps), (0, 1));
    assert_eq!(db.list(gaps).await, ["3|3|reconnect", "6|6|reconnect"]);
    assert_eq!(db.list(VISITS).await, ["1|1", "2|1", "5|1", "6|2"]);
    assert!(feed.asked().iter().all(|asked| asked.header("last-event-id").is_none()));
}

#[tokio::test]
async fn an_anchor_that_is_not_what_was_asked_for_is_a_loss() {
    let db = Db::new().await;
    let feed = Feed::start(|asked| match asked.before {
        0 => Answer::stream("X-After: earliest\r\n", &events(1, 2)),
        1 => Answer::stream("X-After: k-2\r\n", &events(3, 3)),
        2 => Answer::stream("X-After: k-7\r\n", &events(8, 8)),
        _ => Answer::nothing_more(),
    });
    let text = preset("ids = \"text\"\nanchor_header = \"X-After\"\nresume_class = \"window\"");
    let report = run(feed.config(&db, "", &text)).await.unwrap();
    assert_eq!((report.events_processed, report.gaps), (4, 1));
    assert_eq!(report.resume_class, ResumeClass::Window);
    let gaps = "select first_missed, last_missed, noticed_by from sse_stream.gaps";
    assert_eq!(db.list(gaps).await, ["4|4|anchor"]);
    assert_eq!(db.one(OFFSET).await, "5|5|5|k-8|1");

    // By policy that fails the run, and the next one goes on behind it.
    let feed = Feed::start(|asked| match asked.before {
        0 => Answer::stream("X-After: k-8\r\n", ""),
        1 => Answer::stream("X-After: earliest\r\n", &events(20, 20)),
        _ => Answer::nothing_more(),
    });
    let strict = RunConfig { gap_policy: GapPolicy::Fail, ..feed.config(&db, "", &text) };
    let error = run(strict).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadEvent, "{error}");
    assert_eq!(db.one(OFFSET).await, "7|7|7|k-20|1");
}

#[tokio::test]
async fn a_text_id_that_is_gone_is_a_loss() {
    let db = Db::new().await;
    let feed = Feed::start(|asked| match (asked.before, asked.header("last-event-id")) {
        (0, _) => Answer::stream("", &events(1, 1)),
        (_, Some("k-1")) => Answer::status("410 Gone", "", ""),
        (_, None) => Answer::stream("", &events(5, 5)),
        _ => Answer::nothing_more(),
    });
    let report = run(feed.config(&db, "", &preset("ids = \"text\""))).await.unwrap();
    assert_eq!((report.events_processed, report.gaps), (2, 1));
    assert_eq!(db.one("select first_missed, noticed_by from sse_stream.gaps").await, "2|gone");
    assert_eq!(db.one(OFFSET).await, "3|3|3|k-5|1");
}

#[tokio::test]
async fn another_history_is_counted_from_its_own_beginning() {
    let db = Db::new().await;
    let feed = Feed::start(|asked| match asked.before {
        0 => Answer::stream("X-Epoch: one\r\n", &events(1, 3)),
        1 | 2 => Answer::stream("X-Epoch: two\r\n", &events(1, 1)),
        // Back to the first: what it sends now is counted on, and no key-less row is left out.
        3 | 4 => Answer::stream("X-Epoch: one\r\n", &events(4, 4)),
        _ => Answer::status("204 No Content", "X-Epoch: one\r\n", ""),
    });
    let report = run(feed.config(&db, "", &preset("ids = \"text\"\nepoch_header = \"X-Epoch\"")))
        .await
        .unwrap();
    assert_eq!(report.events_processed, 5);
    assert_eq!(
        db.list("select epoch, id from shop.raw order by 1, 2").await,
        ["one|1", "one|2", "one|3", "one|4", "two|1"]
    );
    assert_eq!(db.list(VISITS).await, ["1|2", "2|1", "3|1", "4|1"]);
    let asked = feed.asked();
    assert_eq!(asked[1].header("last-event-id"), Some("k-3"));
    assert_eq!(asked[2].header("last-event-id"), None);
}

#[tokio::test]
async fn integers_may_be_texts_in_the_data() {
    let db = Db::new().await;
    let block =
        |token: i64| format!("data: {{\"paging_token\":\"{token}\",\"visit\":1,\"id\":\"\"}}\n\n");
    let (first, second) = (block(i64::MAX - 1), block(i64::MAX));
    let feed = Feed::start(move |asked| match asked.query("cursor") {
        Some("now") => Answer::stream("", &first),
        Some("9223372036854775806") => Answer::stream("", &second),
        _ => Answer::nothing_more(),
    });
    let text = preset("id = \"/paging_token\"\nresume = { query = \"cursor\" }");
    let report = run(feed.config(&db, "effects?cursor=now", &text)).await.unwrap();
    assert_eq!((report.events_processed, report.position), (2, i64::MAX));
    assert_eq!(db.one("select resume_token is null from sse_stream.streams").await, "t");
}

#[tokio::test]
async fn a_count_is_not_moved_by_hand() {
    let db = Db::new().await;
    let feed = Feed::start(|asked| after(asked.header("last-event-id")));
    run(feed.config(&db, "", &preset("ids = \"text\""))).await.unwrap();
    let asked = ingest::Reset {
        stream: "feed".into(),
        shard: 0,
        to: 1,
        head: None,
        head_epoch: None,
        mirror: None,
        by: "test".into(),
        fence: None,
    };
    let error = ingest::reset(&db.config(), &asked).await.unwrap_err().to_string();
    assert!(error.contains("only counted here") && error.contains("nothing was moved"), "{error}");
    assert_eq!(db.one(OFFSET).await, "5|5|5|k-5|1");
}

#[tokio::test]
async fn what_needs_integers_says_so() {
    let db = Db::new().await;
    let feed = Feed::start(|_| Answer::nothing_more());
    let mut twin = feed.config(&db, "", &preset("ids = \"text\""));
    twin.backfill_url = Some(feed.url("pages"));
    let error = run(twin).await.unwrap_err();
    assert!(error.to_string().contains("remove it"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Config);
    for (stream, part) in [
        ("ids = \"text\"\noffsets = \"dense\"", "needs integer ids"),
        ("ids = \"none\"\nresume = { query = \"since\" }", "without ids"),
        ("ids = \"none\"\nresume_class = \"window\"", "without ids"),
        ("resume = \"cookie\"", "not valid"),
    ] {
        let error = ingest::Preset::parse(&preset(stream)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn streams_with_offsets_store_no_token_and_may_have_writers() {
    let db = Db::new().await;
    let source = Script::of(&[("order", r#"{"order":1,"at":"2026-01-01T00:00:00Z"}"#)]);
    let settings = RunConfig { preset: split_preset(), writers: 2, ..config(&db, &source) };
    run(settings).await.unwrap();
    let rows = "select writer, resume_token is null from sse_stream.offsets order by 1";
    assert_eq!(db.list(rows).await, ["0|t", "1|t"]);
}
