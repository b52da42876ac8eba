//! The server process: starts what looks at the database, listens, and ends in good order.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::cli::Options;
use crate::connect::Database;
use crate::http::{App, Meters, router};
use crate::listener::Commits;
use crate::live::{Hub, Limits};
use crate::patience::PatientListener;
use crate::sampler::Sampler;
use crate::source::Source;
use crate::store::Store;
use crate::token::Tokens;

/// Files beside those of the live clients: other requests, the database, the runtime's own.
const OTHER_FILES: u64 = 200;
/// Open connections have this long to end after the signal.
const FAREWELL: Duration = Duration::from_millis(1500);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If an option cannot be used or the address not be bound. A database that is not there is no
/// error: /ready tells of it until it is.
pub fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_new(&options.log)
        .map_err(|error| format!("--log {:?} is not a filter: {error}", options.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let tokens = options.tokens_file.as_deref().map(Tokens::from_file).transpose()?;
    if tokens.is_none() && !options.listen.ip().is_loopback() {
        tracing::warn!(
            "everybody who reaches {} sees everything; give --tokens-file, or listen on 127.0.0.1",
            options.listen
        );
    }
    allow_files(options.max_clients);
    let database = Database::of_url(&options.database_url)?;
    let store = Store::new(&database, options.connections as usize)?;
    let source = Source::watch(options.source_url.as_deref())?;
    let listener = bind(options.listen).await?;
    let address = listener.local_addr()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopping) = watch::channel(false);
    let patience = Duration::from_secs(options.patience.into());

    let commits = Commits::listen(database);
    let sampler = Sampler::new(
        store.clone(),
        options.stream.clone(),
        options.airflow_url.clone(),
        commits.clone(),
        source,
    );
    tokio::spawn(Arc::clone(&sampler).run());
    let limits = Limits {
        clients: options.max_clients as usize,
        filters: options.max_filters as usize,
        interval: Duration::from_millis(options.interval_ms.into()),
        // One session stays for the sampler, one for requests, if there are so many.
        turns: (options.connections as usize).saturating_sub(2).max(1),
    };
    let hub = Hub::new(store.clone(), Arc::clone(&sampler), commits, limits, stopping.clone());
    let cut_off = Arc::clone(&hub.counts().cut_off);
    let app = App {
        store,
        sampler,
        hub,
        meters: Meters::new()?,
        tokens,
        stream: options.stream,
        stale_after: Duration::from_secs(options.stale_after.into()),
        started: Instant::now(),
    };
    tracing::info!("listening on http://{address}");

    let listener = PatientListener { listener, patience, cut_off };
    let mut stopped = stopping;
    let server = axum::serve(listener, router(Arc::new(app))).with_graceful_shutdown(async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut server => ended??,
    }
    tracing::info!("shutting down");
    let _ = stop.send(true);
    if tokio::time::timeout(FAREWELL, &mut server).await.is_err() {
        tracing::info!("some clients did not read to the end; closing them");
        server.abort();
    }
    Ok(())
}

/// Lets the process open a file for each client, where the usual soft limit is 1,024 in all.
fn allow_files(max_clients: u32) {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let needed = u64::from(max_clients) + OTHER_FILES;
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        tracing::warn!(
            "the system allows {most} open files, and {max_clients} clients need {needed}; \
             raise the hard limit (ulimit -Hn) or lower --max-clients"
        );
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    TcpListener::bind(address).await.map_err(|error| {
        let port = address.port();
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("port {port} is in use; stop what uses it or choose another with --listen")
            }
            io::ErrorKind::PermissionDenied => {
                format!("port {port} needs privileges; choose one above 1023 with --listen")
            }
            _ => "choose an address of this machine with --listen".into(),
        };
        format!("cannot listen on {address}: {error}; {advice}").into()
    })
}
