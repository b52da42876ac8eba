//! A data directory with a past, and a server that starts cold on it.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Command, Output};

use serde_json::Value;
use support::{Dir, Server};

fn fill(dir: &Dir, options: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_restaurant-api");
    Command::new(program).args(["fill", "--data-dir", dir.str()]).args(options).output().unwrap()
}

fn still(dir: &Dir) -> Server {
    Server::start(&["--data-dir", dir.str(), "--events-per-second", "0", "--heartbeat", "50ms"])
}

#[test]
fn a_filled_directory_is_served_from_a_cold_start_and_nothing_comes_to_it() {
    let dir = Dir::new();
    let output = fill(&dir, &["--events", "20000", "--seed", "5"]);
    assert!(output.status.success(), "{output:?}");
    let server = still(&dir);
    let last = server.last_offset();
    assert!((20_000..20_100).contains(&last), "{last}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(&format!("offsets 1 to {last} of epoch ")), "{said}");

    let events = server.history(0);
    let offsets: Vec<_> = events.iter().map(|event| event["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, Vec::from_iter(1..=last));
    let ts = |event: &Value| event["ts"].as_str().unwrap().to_owned();
    assert!(events.iter().map(ts).is_sorted());
    assert!(events.iter().map(|event| event["event_id"].as_str().unwrap()).is_sorted_by_key(
        // The first 60 bits of a time-ordered id are its time.
        |id| (id[..8].to_owned(), id[9..13].to_owned(), id[15..18].to_owned())
    ));
    assert!(events[0]["ts"].as_str().unwrap().starts_with("2026-01-15T17:"));

    let mut stream = server.get(&format!("/stream?since={}", last - 3));
    assert_eq!(stream.events(3).last().unwrap().id, last);
    assert_eq!(stream.block().unwrap().unwrap().comment, "heartbeat");
    assert_eq!(server.last_offset(), last);
}

#[test]
fn another_filling_and_the_present_follow_the_past() {
    let dir = Dir::new();
    assert!(fill(&dir, &["--events", "3000", "--seed", "5"]).status.success());
    let first = still(&dir).history(0);
    assert!(fill(&dir, &["--events", "3000", "--feedback-delay", "0s..1m"]).status.success());
    let server = Server::start(&["--data-dir", dir.str(), "--events-per-second", "5000"]);
    server.wait_for(8000);
    let all = server.history(0);
    assert_eq!(all[..first.len()], first[..]);
    let offsets = all.iter().map(|event| event["offset"].as_u64().unwrap());
    assert!(offsets.eq(1..=all.len() as u64));
    assert!(all.iter().map(|event| event["ts"].as_str().unwrap()).is_sorted());
}

#[test]
fn one_seed_fills_two_directories_with_one_story_under_two_epochs() {
    let (one, other) = (Dir::new(), Dir::new());
    for dir in [&one, &other] {
        assert!(fill(dir, &["--events", "500", "--seed", "9"]).status.success());
    }
    let (one, other) = (still(&one), still(&other));
    assert_ne!(one.json("/health")["epoch"], other.json("/health")["epoch"]);
    let (one, other) = (one.history(0), other.history(0));
    let told = |events: &[Value], key| events.iter().map(|e| e[key].clone()).collect::<Vec<_>>();
    assert_eq!(told(&one, "ts"), told(&other, "ts"));
    assert_eq!(told(&one, "event_type"), told(&other, "event_type"));
    assert!(told(&one, "event_id") != told(&other, "event_id"));
}

#[test]
fn a_past_ends_before_the_present() {
    let dir = Dir::new();
    let today = chrono::DateTime::from(std::time::SystemTime::now() - support::PATIENCE);
    let start = format!("--start={}", <chrono::DateTime<chrono::Utc>>::to_rfc3339(&today));
    let output = fill(&dir, &["--events", "100000", &start]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("choose an earlier --start or a higher --rate"), "{said}");
    // What was told until then is a sound log.
    let server = still(&dir);
    assert_eq!(server.history(0).len() as u64, server.last_offset());
}

#[test]
fn a_directory_in_use_is_not_filled() {
    let dir = Dir::new();
    let _server = still(&dir);
    let output = fill(&dir, &["--events", "100"]);
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("in use by another process"));
}
