//! What survives the death of the process, tried on the real binary.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use restaurant_api::simulator::{Settings, Simulator, State};
use serde_json::Value;
use support::{Dir, Server};

const BUSY: [&str; 4] = ["--events-per-second", "4000", "--feedback-delay", "20ms..600ms"];

/// Reads from the beginning until the connection breaks.
fn read_until_death(server: &Server, from: &str) -> BTreeMap<u64, String> {
    let mut stream = server.get(from);
    let mut seen = BTreeMap::new();
    while let Ok(Some(block)) = stream.block() {
        if !block.event.is_empty() {
            seen.insert(block.id, block.data);
        }
    }
    seen
}

#[test]
fn a_killed_server_forgets_nothing_that_it_served() {
    let dir = Dir::new();
    let options = [&BUSY[..], &["--data-dir", dir.str(), "--seed", "11"]].concat();
    let mut served: BTreeMap<u64, String> = BTreeMap::new();
    let mut epochs = HashSet::new();
    for life in 0..5_u64 {
        let server = Server::start(&options);
        epochs.insert(server.json("/health")["epoch"].to_string());
        assert!(server.last_offset() >= served.keys().last().copied().unwrap_or(0));
        std::thread::scope(|scope| {
            let all = scope.spawn(|| read_until_death(&server, "/stream?since=0"));
            let live = scope.spawn(|| read_until_death(&server, "/stream"));
            std::thread::sleep(Duration::from_millis(350 + 130 * life));
            let kill = ["-KILL", &server.pid().to_string()].map(str::to_owned);
            std::process::Command::new("kill").args(kill).status().unwrap();
            for seen in [all.join().unwrap(), live.join().unwrap()] {
                for (offset, data) in seen {
                    let before = served.entry(offset).or_insert_with(|| data.clone());
                    assert_eq!(*before, data);
                }
            }
        });
    }
    assert_eq!(epochs.len(), 1, "the epoch changed although nothing was lost");
    let server = Server::start(&options);
    server.wait_for(served.keys().last().unwrap() + 4000);
    let history = server.history(0);
    for (offset, data) in &served {
        let kept: Value = serde_json::from_str(data).unwrap();
        assert_eq!(history[*offset as usize - 1], kept, "offset {offset}");
    }
    assert!(served.len() > 4000, "too little was seen: {}", served.len());
    check_story(&history, 11);
}

/// Offsets dense, ids unique, orders whole and in order, every answer given that is overdue.
fn check_story(history: &[Value], seed: u64) {
    let mut ids = HashSet::new();
    let mut orders: Vec<(String, String)> = Vec::new();
    let mut answered = HashSet::new();
    let mut open: Option<(String, usize)> = None;
    for (index, event) in history.iter().enumerate() {
        assert_eq!(event["offset"], index as u64 + 1);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        assert!(ids.insert(text(&event["event_id"])));
        let payload = &event["payload"];
        let order = text(&payload["order_id"]);
        match event["event_type"].as_str().unwrap() {
            "order_created" => {
                assert_eq!(open, None, "offset {index}");
                assert!(ids.insert(order.clone()));
                orders.push((order.clone(), text(&event["ts"])));
                open = Some((order, 0));
            }
            "order_item_added" => {
                let (id, items) = open.as_mut().unwrap();
                assert_eq!(*id, order);
                *items += 1;
                assert!(ids.insert(text(&payload["order_item_id"])));
            }
            "payment_captured" => {
                let (id, items) = open.take().unwrap();
                assert!(id == order && (1..=4).contains(&items));
                assert!(ids.insert(text(&payload["payment_id"])));
            }
            _ => {
                assert!(ids.insert(text(&payload["feedback_id"])));
                assert!(answered.insert(order), "answered twice");
            }
        }
    }
    let settings = Settings { seed, epoch: uuid::Uuid::nil(), feedback_delay: (0, 1) };
    let simulator = Simulator::new(settings, State::default());
    // The last seconds may still be waited for.
    let settled = orders.len() - 3000.min(orders.len() / 3);
    for (number, (order, _)) in orders[..settled].iter().enumerate() {
        let expected = simulator.will_answer(number as u64);
        assert_eq!(answered.contains(order), expected, "order {number}");
    }
}

#[test]
fn without_a_directory_a_restart_is_a_new_epoch_and_repeats_no_id() {
    let options = [&BUSY[..], &["--seed", "5"]].concat();
    let (mut epochs, mut ids, mut count) = (HashSet::new(), HashSet::new(), 0);
    for _ in 0..3 {
        let server = Server::start(&options);
        server.wait_for(1000);
        epochs.insert(server.json("/health")["epoch"].to_string());
        for event in server.history(0) {
            count += 1;
            ids.insert(event["event_id"].to_string());
        }
        server.kill();
    }
    assert_eq!((epochs.len(), ids.len()), (3, count));
}

#[test]
fn a_directory_belongs_to_one_process_and_one_seed() {
    let dir = Dir::new();
    let server = Server::start(&["--data-dir", dir.str(), "--seed", "3"]);
    let refused = |seed: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_restaurant-api"))
            .args(["serve", "--bind", "127.0.0.1:0", "--data-dir", dir.str(), "--seed", seed])
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused("3").contains("in use by another process"));
    server.kill();
    let said = refused("4");
    assert!(said.contains("continues seed 3, not 4"), "{said}");
}

#[test]
fn the_epoch_changes_when_the_machine_went_down() {
    let dir = Dir::new();
    let options = [&BUSY[..], &["--data-dir", dir.str()]].concat();
    let epoch = |server: &Server| server.json("/health")["epoch"].to_string();
    let server = Server::start(&options);
    server.wait_for(100);
    let first = epoch(&server);
    server.kill();
    std::fs::write(dir.path().join("running"), "another boot").unwrap();
    let server = Server::start(&options);
    let second = epoch(&server);
    assert_ne!(first, second);
    server.wait_for(1);
    assert_eq!(server.history(0)[0]["offset"], 1);
    // A clean end leaves nothing in doubt, whatever the machine does then.
    assert!(server.terminate().1);
    assert_eq!(epoch(&Server::start(&options)), second);
}
