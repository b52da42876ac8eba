//! The server process: opens the log, starts the producer, listens, and ends in good order.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use axum::serve::ListenerExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

use crate::cli::ServeOptions;
use crate::fill::random_identity;
use crate::http::{App, Metrics, router};
use crate::log::{Continued, Log, Retention};
use crate::producer::{Pace, Producer};
use crate::simulator::{Settings, Simulator, State};
use crate::token::Token;

/// Files beside those of the streams: other requests, segments of the log, the runtime's own.
const OTHER_FILES: u64 = 200;
/// Bytes that the system takes for a client beyond those on their way to it: without a bound a
/// client that reads nothing costs 4 MB of the memory that all sockets of the machine share.
const UNSENT_BYTES: u32 = 512 << 10;
/// Open connections have this long to end after the signal.
const FAREWELL: Duration = Duration::from_millis(1500);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If the log cannot be opened or the address not be bound.
pub fn run(options: ServeOptions) -> Result<(), Box<dyn Error>> {
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

async fn serve(options: ServeOptions) -> Result<(), Box<dyn Error>> {
    let token = token(&options)?;
    allow_files(options.max_streams);
    // Before the log, so that a second server on this port does not even touch it.
    let listener = bind(options.bind).await?;
    let address = listener.local_addr()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let Continued { log, epoch, seed, state } = open(&options)?;
    let log = Arc::new(log);
    let metrics = Arc::new(Metrics::default());
    let settings = Settings { seed, epoch, feedback_delay: options.guests.feedback_delay };
    let producer = Producer {
        simulator: Simulator::new(settings, state),
        log: Arc::clone(&log),
        metrics: Arc::clone(&metrics),
        pace: options.events_per_second.unwrap_or(Pace::Natural(options.guests.rate)),
    };
    let (stop_producer, stopped) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("producer".into())
        .spawn(move || producer.run(&stopped))?;
    let (stop, stopping) = watch::channel(false);
    let app = App {
        log: Arc::clone(&log),
        epoch,
        heartbeat: options.heartbeat,
        metrics,
        started: Instant::now(),
        stop: stopping.clone(),
        token,
        max_streams: options.max_streams as usize,
    };
    tracing::info!(seed, %epoch, last_offset = log.bounds().last, "listening on http://{address}");

    // Events must leave at once: a small one may not wait for the next.
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&*socket).set_tcp_notsent_lowat(UNSENT_BYTES);
    });
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
    drop(stop_producer);
    let _ = stop.send(true);
    if tokio::time::timeout(FAREWELL, &mut server).await.is_err() {
        tracing::info!("some clients did not read to the end; closing them");
        server.abort();
    }
    let _ = tokio::task::spawn_blocking(|| thread.join()).await;
    log.close()?;
    Ok(())
}

fn token(options: &ServeOptions) -> Result<Option<Token>, String> {
    match (&options.token, &options.token_file) {
        (Some(token), _) => token.clone().checked("--token").map(Some),
        (None, Some(path)) => Token::from_file(path).map(Some),
        (None, None) => Ok(None),
    }
}

/// Lets the process open a file for each client, where the usual soft limit is 1,024 in all.
fn allow_files(max_streams: u32) {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let needed = u64::from(max_streams) + OTHER_FILES;
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        tracing::warn!(
            "the system allows {most} open files, and {max_streams} clients need {needed}; \
             raise the hard limit (ulimit -Hn) or lower --max-streams"
        );
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    TcpListener::bind(address).await.map_err(|error| {
        let port = address.port();
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("port {port} is in use; stop what uses it or choose another with --bind")
            }
            io::ErrorKind::PermissionDenied => {
                format!("port {port} needs privileges; choose one above 1023 with --bind")
            }
            _ => "choose an address of this machine with --bind".into(),
        };
        format!("cannot listen on {address}: {error}; {advice}").into()
    })
}

fn open(options: &ServeOptions) -> Result<Continued, Box<dyn Error>> {
    let retention = Retention { events: options.retain_events, bytes: options.retain_bytes };
    let (seed, epoch) = random_identity()?;
    Ok(match &options.data_dir {
        Some(dir) => Log::open(dir, options.seed, retention, || (seed, epoch))?,
        None => in_memory(options.seed.unwrap_or(seed), epoch, retention),
    })
}

fn in_memory(seed: u64, epoch: Uuid, retention: Retention) -> Continued {
    Continued { log: Log::in_memory(retention), epoch, seed, state: State::default() }
}
