//! A crowd of SSE clients on one thread, to see what the server can carry: how many events each
//! client gets, whether one is missing, and how old they are when they arrive.
//!
//! ```text
//! cargo run --release -p restaurant-api --example crowd -- 127.0.0.1:8000 --clients 1000
//! ```
//!
//! It is not a conforming parser: it knows the wire of this server and nothing else, because what
//! it costs is taken from the machine that it measures.

mod client;
mod report;
mod scanner;

use std::cell::RefCell;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use client::{Client, connect};
use report::{Process, Report};
use scanner::Scanner;

#[derive(Debug, Parser)]
struct Options {
    /// Address of the server.
    address: SocketAddr,
    /// What to ask for.
    #[arg(long, default_value = "/stream")]
    target: String,
    /// Clients that read.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// More clients, which connect and then read nothing.
    #[arg(long, default_value_t = 0)]
    slow: usize,
    /// How long to wait before counting, once all are connected: what had queued up until then is
    /// not of the time that is counted.
    #[arg(long, default_value_t = 1.0)]
    settle: f64,
    /// How long to count; it ends earlier when all streams have ended.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Count the age of each event too, by its `ts` and the clock of this machine; events older
    /// than the counting are left out.
    #[arg(long)]
    ages: bool,
    /// Process of the server, to report its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// One JSON object in place of words.
    #[arg(long)]
    json: bool,
    /// Variable of the environment that holds the bearer token.
    #[arg(long, default_value = "RESTAURANT_API_TOKEN")]
    token_variable: String,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime
        .map_err(Into::into)
        .and_then(|runtime| LocalSet::new().block_on(&runtime, run(&options)));
    match result {
        Ok(report) => {
            println!("{}", if options.json { report.json() } else { report.to_string() });
            if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("crowd: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<Report, Box<dyn Error>> {
    // One buffer for all: what a client read is looked at before the next one reads.
    let buffer = Rc::new(RefCell::new(vec![0; 256 << 10]));
    let token = std::env::var(&options.token_variable).ok();
    let mut sockets: Vec<TcpStream> = Vec::new();
    for _ in 0..options.slow + options.clients {
        sockets.push(connect(options.address, &options.target, token.as_deref()).await?);
    }
    let ages = options.ages.then(scanner::ages);
    let asleep: Vec<TcpStream> = sockets.drain(..options.slow).collect();
    let clients: Vec<Rc<RefCell<Client>>> = sockets
        .iter()
        .map(|_| Rc::new(RefCell::new(Client::new(Scanner::new(ages.clone())))))
        .collect();
    let readers: Vec<_> = sockets
        .into_iter()
        .zip(&clients)
        .map(|(socket, client)| {
            let (client, buffer) = (Rc::clone(client), Rc::clone(&buffer));
            tokio::task::spawn_local(async move { client::read(socket, &client, &buffer).await })
        })
        .collect();

    // Everyone has an answer before anything counts.
    let patience = Instant::now() + Duration::from_secs(30);
    while clients.iter().any(|client| !client.borrow().answered()) {
        if Instant::now() > patience || readers.iter().any(|reader| reader.is_finished()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_secs_f64(options.settle)).await;
    clients.iter().for_each(|client| client.borrow_mut().scanner.begin());
    let process = options.pid.map(Process::begin);
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(options.seconds);
    while Instant::now() < end && readers.iter().any(|reader| !reader.is_finished()) {
        tokio::time::sleep(Duration::from_millis(1).min(end - Instant::now())).await;
    }
    let elapsed = start.elapsed();
    let process = process.and_then(Process::end);
    readers.iter().for_each(|reader| reader.abort());
    let mut ended = Vec::new();
    for reader in readers {
        if let Ok(Err(error)) = reader.await {
            ended.push(error.to_string());
        }
    }
    drop(asleep);
    let scanners: Vec<_> = clients.iter().map(|client| client.borrow().scanner.clone()).collect();
    let ages = ages.map(|ages| ages.take());
    Ok(Report::new(&scanners, ages.as_deref(), elapsed, process, ended))
}
