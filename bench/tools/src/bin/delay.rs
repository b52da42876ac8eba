//! A TCP proxy that makes a server look far away.
//!
//! Each direction holds every piece back for the same time and hands pieces on in their order, so
//! that a round trip takes twice that time longer while the bandwidth stays what it was. With
//! `--ms 0` only the proxy's own cost remains, which the bench measures too. It says
//! `listening on PORT` when it is ready.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

const PIECE: usize = 64 << 10;
/// Pieces under way in one direction, at most 64 MiB: more than any delay here can hold.
const UNDER_WAY: usize = 1024;

/// Forwards TCP connections, each direction `--ms` milliseconds later.
#[derive(Parser)]
struct Options {
    /// Where to connect to.
    to: SocketAddr,
    /// Milliseconds that each direction takes longer.
    #[arg(long, default_value_t = 0.0)]
    ms: f64,
    /// Port on loopback; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let delay = Duration::from_secs_f64(options.ms / 1000.0);
    let listener = TcpListener::bind(("127.0.0.1", options.port))?;
    println!("listening on {}", listener.local_addr()?.port());
    for client in listener.incoming() {
        let client = client?;
        let server = TcpStream::connect(options.to)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        carry(client.try_clone()?, server.try_clone()?, delay);
        carry(server, client, delay);
    }
    Ok(())
}

fn carry(from: TcpStream, to: TcpStream, delay: Duration) {
    let (sender, receiver) = sync_channel(UNDER_WAY);
    thread::spawn(move || take(from, &sender, delay));
    thread::spawn(move || give(to, &receiver));
}

/// Reads pieces and notes when each is due. A connection that breaks ends like one that is closed.
fn take(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buffer = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let piece = (Instant::now() + delay, buffer[..read].to_vec());
        if pieces.send(piece).is_err() {
            break;
        }
    }
}

/// Writes each piece when it is due, and passes the end on.
fn give(mut to: TcpStream, pieces: &Receiver<(Instant, Vec<u8>)>) {
    for (due, piece) in pieces {
        let now = Instant::now();
        if due > now {
            thread::sleep(due - now);
        }
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    // The other direction may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}
