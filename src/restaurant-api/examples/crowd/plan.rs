//! What a crowd is to do, and the doing of it.

use std::cell::RefCell;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::client::{self, Client, connect};
use crate::report::{Process, Report};
use crate::scanner::{self, Scanner};

#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Address of the server.
    pub(crate) address: SocketAddr,
    /// What to ask for.
    #[arg(long, default_value = "/stream")]
    pub(crate) target: String,
    /// Clients that read.
    #[arg(long, default_value_t = 1)]
    pub(crate) clients: usize,
    /// More clients, which connect and then read nothing.
    #[arg(long, default_value_t = 0)]
    pub(crate) slow: usize,
    /// How long to wait before counting, once all are connected: what had queued up until then is
    /// not of the time that is counted [default: 1 with --ages, else 0].
    #[arg(long)]
    pub(crate) settle: Option<f64>,
    /// How long to count; it ends earlier when all streams have ended.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Count the age of each event too, by its `ts` and the clock of this machine; events older
    /// than the counting are left out.
    #[arg(long)]
    pub(crate) ages: bool,
    /// Process of the server, to report its CPU time and memory.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

impl Plan {
    /// Does it all on this thread.
    ///
    /// # Errors
    /// If not everyone could connect; those who failed later are in the report.
    pub(crate) fn run(&self, token: Option<&str>) -> Result<Report, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, run(self, token))
    }
}

async fn run(plan: &Plan, token: Option<&str>) -> Result<Report, Box<dyn Error>> {
    // One buffer for all: what a client read is looked at before the next one reads.
    let buffer = Rc::new(RefCell::new(vec![0; 256 << 10]));
    let mut sockets: Vec<TcpStream> = Vec::new();
    for _ in 0..plan.slow + plan.clients {
        sockets.push(connect(plan.address, &plan.target, token).await?);
    }
    let ages = plan.ages.then(scanner::ages);
    let asleep: Vec<TcpStream> = sockets.drain(..plan.slow).collect();
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
    let settle = plan.settle.unwrap_or(if plan.ages { 1.0 } else { 0.0 });
    tokio::time::sleep(Duration::from_secs_f64(settle)).await;
    clients.iter().for_each(|client| client.borrow_mut().scanner.begin());
    let process = plan.pid.map(Process::begin);
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(plan.seconds);
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
