//! The log as a library: what is appended is found, bounded, and survives being cut off.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use restaurant_api::log::{Continued, Found, Log, Page, Retention};
use restaurant_api::simulator::{Settings, Simulator, State, Step};
use support::Dir;
use uuid::Uuid;

const PLENTY: Retention = Retention { events: 1_000_000, bytes: 1 << 30 };

fn simulator(epoch: Uuid, state: State) -> Simulator {
    let settings = Settings { seed: 1, epoch, feedback_delay: (0, 60_000_000) };
    Simulator::new(settings, state)
}

fn open(dir: &Path, retention: Retention) -> Continued {
    Log::open(dir, None, retention, || (1, Uuid::new_v4_for_test())).unwrap()
}

trait ForTest {
    fn new_v4_for_test() -> Uuid;
}

impl ForTest for Uuid {
    fn new_v4_for_test() -> Uuid {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).unwrap();
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// One order, and the feedback that is due.
fn append(log: &Log, simulator: &mut Simulator) -> usize {
    let now = simulator.state().last_ts + 1_000_000;
    let mut step = Step::default();
    simulator.order(now, &mut step);
    while simulator.next_due().is_some_and(|due| due <= now) {
        simulator.feedback(now, &mut step);
    }
    log.append(&step, simulator.state()).unwrap();
    step.events.len()
}

async fn page(log: &Log, after: u64) -> Arc<Page> {
    match log.read(after).await {
        Found::Page(page) => page,
        other => panic!("no page behind {after}: {other:?}"),
    }
}

/// Every retained event, checked for its offset.
async fn contents(log: &Log) -> Vec<String> {
    let bounds = log.bounds();
    let (mut at, mut out) = (bounds.first - 1, Vec::new());
    while at < bounds.last {
        let page = page(log, at).await;
        for event in (at + 1 - page.first()) as usize..page.len() {
            at += 1;
            let json = std::str::from_utf8(page.json(event)).unwrap().to_owned();
            assert!(json.starts_with(&format!("{{\"offset\":{at},")));
            assert!(page.blocks(event..event + 1).starts_with(format!("id: {at}\n").as_bytes()));
            out.push(json);
        }
    }
    assert!(matches!(log.read(bounds.last).await, Found::End));
    out
}

#[tokio::test]
async fn every_position_finds_its_event() {
    let dir = Dir::new();
    for log in [Log::in_memory(PLENTY), open(dir.path(), PLENTY).log] {
        let mut simulator = simulator(Uuid::nil(), State::default());
        let mut count = 0;
        while count < 3000 {
            count += append(&log, &mut simulator) as u64;
        }
        assert_eq!(log.bounds().last, count);
        assert_eq!(contents(&log).await.len() as u64, count);
        for after in 0..count {
            let page = page(&log, after).await;
            let range = page.first()..page.first() + page.len() as u64;
            assert!(range.contains(&(after + 1)));
        }
    }
}

#[tokio::test]
async fn retention_bounds_events_and_bytes() {
    for (events, bytes) in [(500, 1 << 30), (1_000_000, 200_000), (1, 1 << 30)] {
        let dir = Dir::new();
        let retention = Retention { events, bytes };
        for log in [Log::in_memory(retention), open(dir.path(), retention).log] {
            let mut simulator = simulator(Uuid::nil(), State::default());
            let mut last = 0;
            while last < 5000 {
                last += append(&log, &mut simulator) as u64;
                let bounds = log.bounds();
                assert_eq!(bounds.last, last);
                let stored = last + 1 - bounds.first;
                if bytes == 1 << 30 {
                    assert!(stored >= events.min(last), "{bounds:?}");
                    assert!(stored <= events + events / 4 + 200, "{bounds:?}");
                } else {
                    // One segment more than asked at the most, and a segment is at least 64 KiB.
                    assert!(bounds.bytes <= bytes + 70_000, "{bounds:?}");
                }
            }
            let first = log.bounds().first;
            assert!(first > 1);
            assert_eq!(contents(&log).await.len() as u64, last + 1 - first);
            assert!(
                matches!(log.read(0).await, Found::Missed { first: 1, last } if last == first - 1)
            );
        }
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert!(files < 40, "{files} files were left");
    }
}

#[tokio::test]
async fn a_page_held_by_a_reader_outlives_retention() {
    let dir = Dir::new();
    let retention = Retention { events: 100, bytes: 1 << 30 };
    let log = open(dir.path(), retention).log;
    let mut simulator = simulator(Uuid::nil(), State::default());
    append(&log, &mut simulator);
    let held = page(&log, 0).await;
    let before = held.json(0).to_vec();
    while log.bounds().first < 50 {
        append(&log, &mut simulator);
    }
    assert_eq!(held.json(0), before);
}

#[tokio::test]
async fn reopened_it_is_the_same_and_goes_on() {
    let dir = Dir::new();
    // Small enough that it is many segments.
    let retention = Retention { events: 4000, bytes: 1 << 30 };
    let (mut expected, mut epoch) = (Vec::new(), None);
    let mut state = State::default();
    for _ in 0..4 {
        let continued = open(dir.path(), retention);
        assert_eq!(*epoch.get_or_insert(continued.epoch), continued.epoch);
        assert_eq!(continued.state, state);
        assert_eq!(contents(&continued.log).await, expected);
        let mut simulator = simulator(continued.epoch, continued.state);
        for _ in 0..500 {
            append(&continued.log, &mut simulator);
        }
        expected = contents(&continued.log).await;
        state = simulator.state().clone();
        assert!(!state.due.is_empty());
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().count() > 6);
}

#[tokio::test]
async fn a_torn_append_never_happened() {
    let dir = Dir::new();
    let (before, state, epoch, whole, torn) = {
        let continued = open(dir.path(), PLENTY);
        let mut simulator = simulator(continued.epoch, continued.state);
        for _ in 0..20 {
            append(&continued.log, &mut simulator);
        }
        let whole = length(dir.path());
        let before = contents(&continued.log).await;
        let state = simulator.state().clone();
        append(&continued.log, &mut simulator);
        (before, state, continued.epoch, whole, length(dir.path()))
    };
    let bytes = std::fs::read(segment(dir.path())).unwrap();
    assert!(torn > whole + 500);
    for cut in whole..torn {
        std::fs::write(segment(dir.path()), &bytes[..cut as usize]).unwrap();
        let continued = open(dir.path(), PLENTY);
        assert_eq!((continued.epoch, &continued.state), (epoch, &state), "cut at {cut}");
        assert_eq!(continued.log.bounds().last, before.len() as u64);
        drop(continued);
        assert_eq!(length(dir.path()), whole);
    }
    let continued = open(dir.path(), PLENTY);
    let mut simulator = simulator(continued.epoch, continued.state);
    append(&continued.log, &mut simulator);
    assert_eq!(contents(&continued.log).await[..before.len()], before);
    // The same order as the one that was cut off: it is made again, not skipped.
    assert_eq!(simulator.state().orders, 21);
    assert_eq!(length(dir.path()), torn);
}

#[test]
fn a_segment_killed_at_birth_is_not_missed() {
    let dir = Dir::new();
    let (epoch, state) = {
        let continued = open(dir.path(), PLENTY);
        let mut simulator = simulator(continued.epoch, continued.state);
        for _ in 0..20 {
            append(&continued.log, &mut simulator);
        }
        let next = continued.log.bounds().last + 1;
        std::fs::write(dir.path().join(format!("{next:020}.log")), b"RAF1").unwrap();
        (continued.epoch, simulator.state().clone())
    };
    let continued = open(dir.path(), PLENTY);
    assert_eq!((continued.epoch, continued.state), (epoch, state));
}

#[test]
fn damage_begins_a_new_epoch() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("a flipped bit", |dir| {
            let mut bytes = std::fs::read(segment(dir)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(segment(dir), bytes).unwrap();
        }),
        ("zeros at the end", |dir| {
            let mut bytes = std::fs::read(segment(dir)).unwrap();
            bytes.extend([0; 100]);
            std::fs::write(segment(dir), bytes).unwrap();
        }),
        ("no identity", |dir| std::fs::remove_file(dir.join("identity.json")).unwrap()),
        ("no segment", |dir| std::fs::remove_file(segment(dir)).unwrap()),
    ];
    for (name, harm) in harms {
        let dir = Dir::new();
        let epoch = {
            let continued = open(dir.path(), PLENTY);
            let mut simulator = simulator(continued.epoch, continued.state);
            for _ in 0..20 {
                append(&continued.log, &mut simulator);
            }
            continued.epoch
        };
        harm(dir.path());
        let continued = open(dir.path(), PLENTY);
        assert_ne!(continued.epoch, epoch, "{name}");
        assert_eq!((continued.log.bounds().last, continued.state), (0, State::default()), "{name}");
    }
}

/// What rots while the server runs is a gap for those who ask, not the end of their stream.
#[tokio::test]
async fn a_page_that_rots_on_disk_is_missed_and_what_follows_is_not() {
    let dir = Dir::new();
    {
        let continued = open(dir.path(), PLENTY);
        let mut simulator = simulator(continued.epoch, continued.state);
        while continued.log.bounds().bytes < 1 << 20 {
            append(&continued.log, &mut simulator);
        }
    }
    let log = open(dir.path(), PLENTY).log;
    let first = {
        let (one, other) = (page(&log, 0).await, page(&log, 1).await);
        assert!(Arc::ptr_eq(&one, &other), "two readers, two copies");
        one.len() as u64
    };
    let (mut bytes, segment) = (std::fs::read(segment(dir.path())).unwrap(), segment(dir.path()));
    bytes[100_000] ^= 1;
    // In place: the log has the file open.
    std::fs::File::options().write(true).open(segment).unwrap().write_all_at(&bytes, 0).unwrap();
    let Found::Missed { first: from, last } = log.read(0).await else {
        panic!("damaged events were read");
    };
    assert_eq!((from, last), (1, first));
    assert_eq!(page(&log, last).await.first(), first + 1);
}

fn segment(dir: &Path) -> std::path::PathBuf {
    dir.join(format!("{:020}.log", 1))
}

fn length(dir: &Path) -> u64 {
    std::fs::metadata(segment(dir)).unwrap().len()
}
