//! The corpus command: reproducible bytes.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::process::{Command, Output, Stdio};

fn generate(options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_restaurant-api"));
    command.arg("generate").args(options).output().unwrap()
}

fn lines(options: &[&str]) -> Vec<serde_json::Value> {
    let output = generate(&[options, &["--format", "ndjson"]].concat());
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A slow day, so that the first answers come within 200 events and all four types occur.
const GOLDEN: &str = "--seed 7 --events 200 --start 2026-01-15T17:00:00Z \
                      --feedback-delay 1m..10m --rate 0.05";

#[test]
fn the_golden_corpus_is_what_the_command_writes() {
    let options: Vec<_> = GOLDEN.split_whitespace().collect();
    let golden = include_bytes!("../../../tests/fixtures/golden/restaurant.sse");
    assert!(generate(&options).stdout == golden, "run: restaurant-api generate {GOLDEN}");
    let types: std::collections::HashSet<_> =
        lines(&options).iter().map(|event| event["event_type"].to_string()).collect();
    assert_eq!(types.len(), 4);
}

#[test]
fn both_formats_hold_the_same_envelopes() {
    let options = ["--seed", "3", "--events", "500", "--feedback-delay", "1s..2s"];
    let sse = String::from_utf8(generate(&options).stdout).unwrap();
    let data: Vec<serde_json::Value> = sse
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|json| serde_json::from_str(json).unwrap())
        .collect();
    assert_eq!(data, lines(&options));
    assert_eq!(data.len(), 500);
}

#[test]
fn seeds_differ_and_repeat() {
    let of = |seed| generate(&["--events", "100", "--seed", seed]).stdout;
    assert_eq!(of("1"), of("1"));
    assert_ne!(of("1"), of("2"));
}

#[test]
fn simulated_time_starts_where_asked_and_runs_on() {
    let events = lines(&["--events", "20000", "--start", "2024-02-29T22:00:00Z"]);
    let times: Vec<_> = events.iter().map(|event| event["ts"].as_str().unwrap()).collect();
    assert!(times.is_sorted());
    assert!(times[0].starts_with("2024-02-29T22:00:0"));
    // The evening brings five orders of 3.55 events a second (feedback comes later): about 19 min.
    let minutes = |text: &str| -> f64 { text[14..16].parse().unwrap() };
    let took = minutes(times[19_999]);
    assert!(times[19_999].starts_with("2024-02-29T22:") && (17.0..21.0).contains(&took), "{took}");
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["offset"], index as u64 + 1);
    }
}

#[test]
fn nothing_is_a_corpus_too() {
    assert!(lines(&["--events", "0"]).is_empty());
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_restaurant-api"))
        .args(["generate", "--events", "1000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn money_has_two_decimals_on_the_wire() {
    let output = generate(&["--events", "2000"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut seen = 0;
    for key in ["unit_price", "extended_price", "amount", "subtotal", "tax", "tip", "total"] {
        for part in text.split(&format!("\"{key}\":")).skip(1) {
            let number = part.split([',', '}']).next().unwrap();
            let (whole, cents) = number.split_once('.').unwrap();
            assert!(cents.len() == 2 && whole.parse::<u32>().is_ok(), "{key} {number}");
            seen += 1;
        }
    }
    assert!(seen > 3000);
}
