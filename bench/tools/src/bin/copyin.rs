//! Loads prebuilt binary COPY files: the ceiling that everything else is measured against.
//!
//! A folder per session holds `statements` (one COPY per line, in the order in which a transaction
//! makes them) and files `SLICE.LINE`. All files are read before the clock starts. The time counts
//! from before connecting to the last commit, as it does for everybody else. Like every contestant
//! it says `ready`, waits for `go` and answers with one line of JSON.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use clap::Parser;
use futures_util::SinkExt;
use tokio_postgres::{Config, NoTls};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Loads folders of prebuilt COPY files, each over a session of its own.
#[derive(Parser)]
struct Options {
    /// URL of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    url: String,
    /// One folder per session.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
}

/// The COPY files of one transaction by statement; a statement without rows has none.
type Slice = BTreeMap<usize, Bytes>;

struct Load {
    statements: Vec<String>,
    slices: Vec<Slice>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let config: Config = options.url.parse()?;
    let loads = options.folders.iter().map(|folder| read(folder)).collect::<Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(loads.len())
        .enable_all()
        .build()?;
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim() != "go" {
        return Err("nobody said go".into());
    }
    // Lets the kernel forget the peak of the reading.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let (before, cpu, start) = (status_mib("VmRSS")?, cpu_seconds()?, Instant::now());
    runtime.block_on(async {
        let mut sessions = Vec::new();
        for load in loads {
            sessions.push(tokio::spawn(session(config.clone(), load)));
        }
        for session in sessions {
            session.await??;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{{\"seconds\": {seconds:.6}, \"cpu_seconds\": {:.3}, \"rss_before_mib\": {before:.1}, \
         \"rss_peak_mib\": {:.1}}}",
        cpu_seconds()? - cpu,
        status_mib("VmHWM")?
    );
    Ok(())
}

/// User and system time of this process with all its threads.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold anything; behind it stand numbers, in ticks of 10 ms.
    let (_, numbers) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    let ticks: u64 = numbers[11].parse::<u64>()? + numbers[12].parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}

fn status_mib(name: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name)).ok_or("no such line")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib / 1024.0)
}

async fn session(config: Config, load: Load) -> Result<()> {
    let (mut client, connection) = config.connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    let mut statements = Vec::new();
    for statement in &load.statements {
        statements.push(client.prepare(statement).await?);
    }
    for slice in load.slices {
        let transaction = client.transaction().await?;
        for (statement, bytes) in slice {
            let sink = transaction.copy_in(&statements[statement]).await?;
            let mut sink = std::pin::pin!(sink);
            sink.send(bytes).await?;
            sink.finish().await?;
        }
        transaction.commit().await?;
    }
    drop(client);
    connection.await??;
    Ok(())
}

fn read(folder: &Path) -> Result<Load> {
    let statements = std::fs::read_to_string(folder.join("statements"))?;
    let mut slices: BTreeMap<usize, Slice> = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some((slice, statement)) = name.split_once('.') {
            let bytes = std::fs::read(&path)?.into();
            slices.entry(slice.parse()?).or_default().insert(statement.parse()?, bytes);
        }
    }
    Ok(Load {
        statements: statements.lines().map(str::to_owned).collect(),
        slices: slices.into_values().collect(),
    })
}
