//! A static SSE server: one thread per client, the whole corpus in memory.
//!
//! Offsets are the ids, dense from 1; `Last-Event-ID` is honoured. Behind the last event it stays
//! silent but for comments, as a live feed would. It says `listening on PORT` when it is ready.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bench_tools::corpus::Corpus;
use clap::Parser;

/// Bytes per write and per HTTP chunk.
const CHUNK: usize = 128 << 10;
const HEARTBEAT: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(1);

/// Serves a corpus of SSE blocks, again and again with fresh ids until `--events` are out.
#[derive(Parser)]
struct Options {
    /// File of blocks as `restaurant-api generate` writes them.
    corpus: PathBuf,
    /// Port on loopback; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Number of events in all [default: those of the corpus].
    #[arg(long)]
    events: Option<u64>,
    /// Events per second [default: as fast as the client reads].
    #[arg(long)]
    rate: Option<f64>,
    /// Sent as the header X-Epoch.
    #[arg(long, default_value = "bench")]
    epoch: String,
    /// Make one event of so many a bad one.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    bad_every: Option<u64>,
    /// Identifiers in no order of time.
    #[arg(long)]
    random_ids: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut corpus = Corpus::new(std::fs::read(&options.corpus)?)?;
    if let Some(every) = options.bad_every {
        corpus.spoil(every as usize);
    }
    if options.random_ids {
        corpus.scatter_ids();
    }
    let listener = TcpListener::bind(("127.0.0.1", options.port))?;
    println!("listening on {}", listener.local_addr()?.port());
    let shared = Arc::new((corpus, options));
    for client in listener.incoming() {
        let (client, shared) = (client?, Arc::clone(&shared));
        thread::spawn(move || {
            // A client that has had enough is no error.
            let _ = serve(client, &shared.0, &shared.1);
        });
    }
    Ok(())
}

fn serve(mut client: TcpStream, corpus: &Corpus, options: &Options) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut offset = last_event_id(&client)?;
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
         X-Epoch: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        options.epoch
    )?;
    let last = options.events.unwrap_or(corpus.len());
    let (start, first) = (Instant::now(), offset);
    let mut block = Vec::with_capacity(CHUNK + (8 << 10));
    while offset < last {
        let due = options
            .rate
            .map_or(last, |rate| last.min(first + (start.elapsed().as_secs_f64() * rate) as u64));
        if due <= offset {
            thread::sleep(TICK);
            continue;
        }
        block.clear();
        offset = corpus.play(offset, due, CHUNK, &mut block);
        write_chunk(&mut client, &block)?;
    }
    loop {
        thread::sleep(HEARTBEAT);
        write_chunk(&mut client, b":\n\n")?;
    }
}

fn write_chunk(client: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let head = format!("{:x}\r\n", bytes.len());
    let parts =
        [io::IoSlice::new(head.as_bytes()), io::IoSlice::new(bytes), io::IoSlice::new(b"\r\n")];
    let mut written = client.write_vectored(&parts)?;
    for part in parts {
        let done = written.min(part.len());
        client.write_all(&part[done..])?;
        written -= done;
    }
    Ok(())
}

fn last_event_id(client: &TcpStream) -> io::Result<u64> {
    let mut position = 0;
    for line in BufReader::new(client).lines() {
        let line = line?;
        if line.is_empty() {
            return Ok(position);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("last-event-id")
        {
            position = value.trim().parse().map_err(|_| io::Error::other("not an offset"))?;
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
