//! Events that are no data, and runs that end where they were told to.

use std::time::{Duration, Instant};

use ingest::{ErrorKind, Limits, RunConfig, StopReason, Until};

use crate::feed::{Answer, Feed, preset};
use crate::support::{Db, Script, config, run};

fn once(body: &'static str) -> Feed {
    Feed::start(move |asked| match asked.before {
        0 => Answer::stream("", body),
        _ => Answer::nothing_more(),
    })
}

#[tokio::test]
async fn what_is_no_data_is_passed_over_and_not_lost() {
    let db = Db::new().await;
    let feed = once(
        "event: open\ndata: \"hello\"\n\nid: 1\ndata: {\"a\":1}\n\n\
         id: 2\ndata: {\"meta\":{\"domain\":\"canary\"}}\n\nid: 3\ndata: {\"meta\":{\"domain\":\"x\"}}\n\n\
         id: 5\ndata: {\"meta\":{\"domain\":\"canary\"}}\n\ndata: \"byebye\"\n\n",
    );
    let text = preset(
        "offsets = \"dense\"\ncontrol = [\"open\"]\ncontrol_data = [\"byebye\"]\ndrop_when = { \"/meta/domain\" = \"canary\" }",
    );
    let report = run(feed.config(&db, "", &text)).await.unwrap();
    assert_eq!((report.events_processed, report.dead_letters), (2, 0));
    assert_eq!(db.list("select id from shop.raw order by 1").await, ["1", "3"]);
    // What was dropped came; offset 4 did not.
    let gaps = "select first_missed, last_missed from sse_stream.gaps";
    assert_eq!(db.list(gaps).await, ["4|4"]);
    assert_eq!(report.position, 5);
    assert_eq!(feed.asked()[1].header("last-event-id"), Some("5"));
}

#[tokio::test]
async fn a_last_word_ends_the_run() {
    let db = Db::new().await;
    let feed = once("data: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\ndata: {\"n\":3}\n\n");
    let text = preset("ids = \"none\"\nreconnect = \"never\"\ndone = \"[DONE]\"");
    let mut settings = feed.config(&db, "v1/chat", &text);
    settings.source.method = "POST".into();
    settings.source.body = Some("{\"stream\":true}".into());
    settings.source.headers.push(("Content-Type".into(), "application/json".into()));
    let report = run(settings).await.unwrap();
    assert_eq!((report.events_processed, report.stop_reason), (2, StopReason::Done));
    assert_eq!((report.gaps, report.dead_letters), (0, 0));
    let asked = feed.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((&*asked[0].method, &*asked[0].body), ("POST", "{\"stream\":true}"));
    assert_eq!(asked[0].header("content-type"), Some("application/json"));

    // The next answer is another one: nothing of it was missed.
    let feed = once("data: {\"n\":1}\n\ndata: [DONE]\n\n");
    let report = run(feed.config(&db, "v1/chat", &text)).await.unwrap();
    assert_eq!((report.events_processed, report.gaps), (1, 0));
    assert_eq!(db.one("select count(*) from shop.raw").await, "3");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_asked_for_again() {
    let db = Db::new().await;
    let feed = once("data: {\"n\":1}\n\n");
    let never = "ids = \"none\"\nreconnect = \"never\"\n";
    let error =
        run(feed.config(&db, "", &preset(&format!("{never}done = \"[DONE]\"")))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert!(error.to_string().contains("before it said \"[DONE]\""), "{error}");
    assert_eq!(db.one("select count(*) from shop.raw").await, "1");
    assert_eq!(feed.asked().len(), 1);
    // Where no last word is agreed upon, the end is the end.
    let feed = once("data: {\"n\":2}\n\n");
    let report = run(feed.config(&db, "", &preset(never))).await.unwrap();
    assert_eq!((report.events_processed, report.stop_reason), (1, StopReason::EndOfStream));
}

fn bounded(config: RunConfig, limits: Limits) -> RunConfig {
    let timeout = config.limits.timeout;
    RunConfig { limits: Limits { timeout, ..limits }, ..config }
}

fn visits(ids: impl IntoIterator<Item = u32>) -> Script {
    let source = Script::serve(false);
    for id in ids {
        source.add_at(&[(u64::from(id), "visit", &format!("{{\"visit\":{id}}}"))]);
    }
    source
}

#[tokio::test]
async fn a_run_ends_at_an_offset() {
    let db = Db::new().await;
    let source = visits([1, 2, 3, 5, 6]);
    let until = |offset| Limits { until: Some(Until::Offset(offset)), ..Limits::default() };
    let report = run(bounded(config(&db, &source), until(3))).await.unwrap();
    assert_eq!((report.position, report.stop_reason), (3, StopReason::Until));
    // The offset itself does not exist: what comes next is behind it, and stays for the next run.
    let report = run(bounded(config(&db, &source), until(4))).await.unwrap();
    assert_eq!((report.events_processed, report.position), (0, 3));
    assert_eq!(report.stop_reason, StopReason::Until);
    let report = run(bounded(config(&db, &source), until(6))).await.unwrap();
    assert_eq!((report.events_processed, report.position), (2, 6));
}

#[tokio::test]
async fn a_run_ends_when_the_source_has_told_all() {
    let db = Db::new().await;
    let source = visits(1..=4);
    let drain = Limits { drain: true, ..Limits::default() };
    let started = Instant::now();
    let report = run(bounded(config(&db, &source), drain)).await.unwrap();
    assert_eq!((report.position, report.stop_reason), (4, StopReason::CaughtUp));
    // A heartbeat soon after the last event says as much as a long silence.
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let mute = Script::mute();
    mute.add(&[("visit", "{\"visit\":1}")]);
    let mut silent = bounded(config(&db, &mute), drain);
    silent.stream = Some("mute".into());
    let report = run(silent).await.unwrap();
    assert_eq!((report.position, report.stop_reason), (1, StopReason::CaughtUp));
}

#[tokio::test]
async fn an_answer_without_an_event_says_that_there_is_none() {
    let db = Db::new().await;
    let feed = Feed::start(|asked| match asked.header("last-event-id") {
        Some("0") => {
            Answer::stream("", "data: \"hello\"\n\nid: 3\ndata: {}\n\ndata: \"byebye\"\n\n")
        }
        _ => Answer::stream("", "data: \"hello\"\n\ndata: \"byebye\"\n\n"),
    });
    let settings = feed.config(&db, "", &preset("control_data = [\"hello\", \"byebye\"]"));
    let report = run(bounded(settings, Limits { drain: true, ..Limits::default() })).await.unwrap();
    assert_eq!((report.position, report.stop_reason), (3, StopReason::CaughtUp));
    assert_eq!(report.events_processed, 1);
}

#[tokio::test]
async fn the_newest_offset_in_the_head_tells_when_all_was_told() {
    let db = Db::new().await;
    let feed = Feed::start(|_| {
        let body = "id: 1\ndata: {}\n\nid: 2\ndata: {}\n\n";
        Answer::stream("X-Newest: 2\r\n", body).and_stay()
    });
    let settings = feed.config(&db, "", &preset("head_header = \"X-Newest\""));
    let started = Instant::now();
    let report = run(bounded(settings, Limits { drain: true, ..Limits::default() })).await.unwrap();
    assert_eq!((report.position, report.stop_reason), (2, StopReason::CaughtUp));
    assert!(started.elapsed() < Duration::from_millis(450), "{:?}", started.elapsed());
}

/// Five events, a minute apart from 11:59, the last but one late; from the 12:00 one where a
/// request says so.
fn minutes(asked: &crate::feed::Asked) -> Answer {
    let all = [
        (1, "11:59:00"),
        (2, "12:00:00"),
        (3, "12:59:30"),
        (4, "13:00:10"),
        (5, "12:59:59"),
        (6, "13:01:00"),
    ];
    let after: u32 = asked.header("last-event-id").and_then(|id| id.parse().ok()).unwrap_or(0);
    let event =
        |(id, at): &(u32, &str)| format!("id: {id}\ndata: {{\"at\":\"2026-11-20T{at}Z\"}}\n\n");
    let body: String = all.iter().filter(|(id, _)| *id > after).map(event).collect();
    Answer::stream("", &body).and_stay()
}

fn hour() -> Limits {
    let time = |text: &str| text.parse().unwrap();
    Limits {
        from: Some(time("2026-11-20T12:00:00Z")),
        until: Some(Until::Time(time("2026-11-20T13:00:00Z"))),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_window_of_time_takes_what_is_in_it_late_events_too() {
    let db = Db::new().await;
    let feed = Feed::start(minutes);
    let text = preset(
        "time = \"/at\"\nlateness_seconds = 60\nsince = { query = \"since\", format = \"seconds\" }",
    );
    let rows = "select id from shop.raw order by 1";
    let settings = || bounded(feed.config(&db, "", &text), hour());
    // Died after two events: the next attempt goes on behind them.
    let mut first = settings();
    first.limits.max_events = Some(2);
    let error = run(first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert!(error.to_string().contains("before the end of its window"), "{error}");
    assert_eq!(db.list(rows).await, ["2", "3"]);
    for (events, stands) in [(1, "5"), (0, "5")] {
        let report = run(settings()).await.unwrap();
        assert_eq!((report.events_processed, report.stop_reason), (events, StopReason::Until));
        assert_eq!(db.one("select position from sse_stream.offsets").await, stands);
        assert_eq!(db.list(rows).await, ["2", "3", "5"]);
    }
    let asked = feed.asked();
    assert_eq!(asked[0].query("since"), Some("1795175940"));
    assert_eq!((asked[1].query("since"), asked[1].header("last-event-id")), (None, Some("3")));
}

/// Pages of a thousand events, a second apart from 12:00; every other offset is left out.
fn page(asked: &crate::feed::Asked) -> Answer {
    let since: i64 = asked.query("since").unwrap().parse().unwrap();
    let first = (since + 2) / 2 * 2;
    let event =
        |id: i64| format!("{{\"id\":{id},\"type\":\"tick\",\"at\":{}}}", 1_795_176_000 + id / 2);
    let events = if first <= 2000 { event(first) } else { String::new() };
    Answer::status("200 OK", "", &format!("{{\"events\":[{events}]}}"))
}

#[tokio::test]
async fn the_twin_tells_where_a_window_begins() {
    let db = Db::new().await;
    let feed = Feed::start(|asked| match asked.query("since") {
        Some(_) => page(asked),
        None => {
            let after: i64 = asked.header("last-event-id").unwrap().parse().unwrap();
            let event =
                |id: i64| format!("id: {id}\ndata: {{\"at\":{}}}\n\n", 1_795_176_000 + id / 2);
            Answer::stream(
                "",
                &(after + 1..=1000).filter(|id| id % 2 == 0).map(event).collect::<String>(),
            )
        }
    });
    let text = preset(
        "time = \"/at\"\n[stream.pages]\nevents = \"/events\"\nid = \"/id\"\ntype = \"/type\"",
    );
    let mut settings = feed.config(&db, "", &text);
    let time = |second: i64| jiff::Timestamp::from_second(1_795_176_000 + second).unwrap();
    settings.backfill_url = Some(feed.url("pages"));
    (settings.limits.from, settings.limits.until) = (Some(time(300)), Some(Until::Time(time(400))));
    let report = run(settings).await.unwrap();
    assert_eq!((report.events_processed, report.stop_reason), (100, StopReason::Until));
    assert_eq!((report.first_offset, report.last_offset), (Some(600), Some(798)));
    let asked = feed.asked();
    assert_eq!(asked.last().unwrap().header("last-event-id"), Some("598"));
    assert!(asked.len() < 40, "{}", asked.len());
}

#[tokio::test]
async fn a_window_that_the_feed_cannot_give_is_refused() {
    let db = Db::new().await;
    let feed = Feed::start(|_| Answer::nothing_more());
    for (stream, part) in [
        ("", "where the time of an event stands"),
        ("time = \"/at\"\nids = \"none\"", "resume class none"),
        ("time = \"/at\"\nids = \"text\"", "cannot be asked for a time"),
    ] {
        let error = run(bounded(feed.config(&db, "", &preset(stream)), hour())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(feed.asked().len(), 0);
}

#[tokio::test]
async fn a_quiet_source_ends_a_window_that_has_passed() {
    let db = Db::new().await;
    let feed =
        Feed::start(|_| Answer::stream("", "id: 1\ndata: {\"at\":1795176060}\n\n").and_stay());
    let settings = bounded(feed.config(&db, "", &preset("time = \"/at\"")), hour());
    let report = run(settings).await.unwrap();
    assert_eq!((report.events_processed, report.stop_reason), (1, StopReason::Until));
}

#[tokio::test]
async fn what_follows_a_time_stays_for_the_next_run() {
    let db = Db::new().await;
    let feed = Feed::start(minutes);
    let text = preset("time = \"/at\"\nlateness_seconds = 60");
    let until = Limits { from: None, ..hour() };
    let report = run(bounded(feed.config(&db, "", &text), until)).await.unwrap();
    assert_eq!((report.position, report.stop_reason), (3, StopReason::Until));
    let drain = Limits { drain: true, ..Limits::default() };
    let report = run(bounded(feed.config(&db, "", &text), drain)).await.unwrap();
    assert_eq!((report.events_processed, report.position), (3, 6));
}
