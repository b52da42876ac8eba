//! Many clients at once. Bounds are about five times what was measured, for busy machines.
#![allow(clippy::unwrap_used)]

mod support;

#[allow(dead_code)]
#[path = "../examples/crowd/client.rs"]
mod client;
#[path = "../examples/crowd/plan.rs"]
mod plan;
#[allow(dead_code)]
#[path = "../examples/crowd/report.rs"]
mod report;
#[path = "../examples/crowd/scanner.rs"]
mod scanner;

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use plan::Plan;
use report::Report;
use support::{Dir, PATIENCE, Server};

/// `clients` that read for two seconds.
fn plan(server: &Server, clients: usize) -> Plan {
    Plan {
        address: server.address.parse().unwrap(),
        target: "/stream".into(),
        clients,
        slow: 0,
        settle: Some(0.3),
        seconds: 2.0,
        ages: true,
        pid: Some(server.pid()),
    }
}

/// What happened, if every client got every event.
fn run(plan: &Plan) -> Report {
    let report = plan.run(None).unwrap();
    assert!(report.is_sound(), "{report}");
    report
}

fn history(events: &str) -> Dir {
    let dir = Dir::new();
    let program = env!("CARGO_BIN_EXE_restaurant-api");
    let fill = ["fill", "--data-dir", dir.str(), "--seed", "5", "--events", events];
    assert!(Command::new(program).args(fill).output().unwrap().status.success());
    dir
}

fn cold(dir: &Dir) -> Server {
    Server::start(&["--data-dir", dir.str(), "--events-per-second", "0"])
}

/// Clients that ask for `since` and read nothing.
fn sleepers(server: &Server, since: impl Iterator<Item = u64>) -> Vec<TcpStream> {
    let ask = |since| {
        let mut socket = TcpStream::connect(&server.address).unwrap();
        write!(socket, "GET /stream?since={since} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        socket
    };
    since.map(ask).collect()
}

fn metric(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

/// Waits until no more bytes go to the streams, and says how many went.
fn sent(server: &Server) -> u64 {
    let (mut before, mut since) = (0, Instant::now());
    let deadline = since + PATIENCE;
    while since.elapsed() < Duration::from_millis(500) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        let now = metric(server, "restaurant_api_stream_bytes_sent_total");
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    before
}

#[test]
fn two_hundred_clients_get_every_event_soon_and_in_little_memory() {
    let dir = Dir::new();
    let server = Server::start(&["--data-dir", dir.str(), "--events-per-second", "1000"]);
    let report = run(&plan(&server, 200));
    assert!(report.rates[0] > 500.0, "{report}");
    let [_, _, p99, _] = report.ages.unwrap();
    assert!(p99 < 1250.0, "{report}");
    assert!(report.process.as_ref().unwrap().peak_mib < 80.0, "{report}");
}

#[test]
fn an_event_of_the_natural_pace_arrives_at_once() {
    let server = Server::start(&["--rate", "10"]);
    let report = run(&plan(&server, 1));
    let [p50, ..] = report.ages.unwrap();
    assert!(p50 < 10.0, "{report}");
}

#[test]
fn one_sleeper_among_fifty_takes_nothing_from_the_others() {
    let server = Server::start(&["--events-per-second", "2000"]);
    let plan = plan(&server, 49);
    let alone = run(&plan);
    let beside = run(&Plan { slow: 1, ..plan });
    assert!(beside.rates[0] > alone.rates[0] / 2.0, "alone:\n{alone}\nbeside:\n{beside}");
    assert!(beside.ages.unwrap()[2] < 5.0 * alone.ages.unwrap()[2].max(10.0), "{beside}");
}

#[test]
fn readers_of_the_past_do_not_keep_it_in_memory() {
    let dir = history("300000");
    let server = cold(&dir);
    let plan =
        Plan { target: "/stream?since=0&until=300000".into(), settle: None, ..plan(&server, 20) };
    let report = run(&Plan { seconds: PATIENCE.as_secs_f64(), ages: false, ..plan });
    // The events alone are 138 MB.
    assert!(report.process.as_ref().unwrap().peak_mib < 100.0, "{report}");
}

#[test]
fn sleepers_are_bounded_in_memory_here_and_in_the_kernel() {
    let dir = history("100000");
    let server = cold(&dir);
    let _one = sleepers(&server, [0].into_iter());
    // What a sleeper takes until its stream stops: a socket that may grow as it likes takes 4 MB.
    let of_one = sent(&server);
    assert!((100_000..3_500_000).contains(&of_one), "{of_one}");
    let _many = sleepers(&server, (0..200).map(|n| n * 400));
    sent(&server);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 250_000, "{kib} KiB");
}

/// What a crowd costs is its wake-ups: they become fewer as it grows, and the pace stays.
#[test]
fn a_crowd_is_woken_less_often() {
    let server = Server::start(&["--events-per-second", "1000"]);
    let _crowd = sleepers(&server, std::iter::repeat_n(0, 400));
    let first = server.last_offset();
    server.wait_for(first + 500);
    assert_eq!(server.json("/health")["clients"], 400);
    let from = server.last_offset();
    let start = Instant::now();
    server.wait_for(from + 2000);
    assert!(start.elapsed() < Duration::from_secs(6));
    let events = server.history(from);
    let moments: HashSet<_> = events[..2000].iter().map(|event| event["ts"].to_string()).collect();
    // 20 ms for 400 clients: 100 moments in the two seconds, 200 with a client or two.
    assert!(moments.len() < 130, "{}", moments.len());
}

#[test]
fn more_clients_than_the_soft_limit_of_files() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -Sn 64 && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_restaurant-api"),
    ]);
    let server = Server::start_by(command, &["--events-per-second", "500"]);
    let report = run(&plan(&server, 100));
    assert!(report.rates[0] > 250.0, "{report}");
}

#[test]
fn a_page_of_five_thousand_takes_milliseconds() {
    let dir = history("100000");
    let server = cold(&dir);
    let fastest = (0..19).map(|page| {
        let start = Instant::now();
        let text = server.get(&format!("/events?since={}&limit=5000", page * 5000)).text();
        assert!(text.len() > 2_000_000);
        start.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(15), "{fastest:?}");
}
