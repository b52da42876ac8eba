//! The command line. Each option may also come from the environment as `RESTAURANT_API_<NAME>`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::producer::Pace;
use crate::simulator::Micros;
use crate::token::Token;

/// A restaurant chain in a box: orders, payments and feedback as REST and server-sent events.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Simulate the chain in real time and serve its events over HTTP.
    Serve(Box<ServeOptions>),
    /// Write a reproducible corpus to standard output, in simulated time and at full speed.
    Generate(GenerateOptions),
    /// Give a data directory a past: simulated time into its log at full speed, to be served later.
    Fill(FillOptions),
}

#[derive(Debug, Args)]
pub struct ServeOptions {
    /// Address and port to listen on; port 0 takes a free one and logs it.
    #[arg(long, env = "RESTAURANT_API_BIND", default_value = "127.0.0.1:8000")]
    pub bind: SocketAddr,

    /// Decides the content of every order [default: the data directory's, else a random one,
    /// which is logged].
    #[arg(long, env = "RESTAURANT_API_SEED")]
    pub seed: Option<u64>,

    #[command(flatten)]
    pub guests: Guests,

    /// Fixed pace in events per second instead of the day's rhythm, "max" for as fast as the log
    /// takes them, or 0 to serve only what is there.
    #[arg(long, env = "RESTAURANT_API_EVENTS_PER_SECOND", value_name = "N|max",
          value_parser = pace, conflicts_with = "rate")]
    pub events_per_second: Option<Pace>,

    /// Directory of a log that survives restarts, kill -9 included; after a crash of the machine
    /// it starts over under a new epoch [default: keep events in memory only].
    #[arg(long, env = "RESTAURANT_API_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Events to retain. Memory needed is about 500 bytes for each without --data-dir, and 80 MB
    /// in all with it.
    #[arg(long, env = "RESTAURANT_API_RETAIN_EVENTS", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub retain_events: u64,

    /// Most bytes of events to retain, even if that is fewer events.
    #[arg(long, env = "RESTAURANT_API_RETAIN_BYTES", default_value_t = 512 << 20,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub retain_bytes: u64,

    /// Silence on a stream before a comment is sent (ms, s, m, h, d).
    #[arg(long, env = "RESTAURANT_API_HEARTBEAT", default_value = "2s", value_parser = heartbeat)]
    pub heartbeat: Duration,

    /// Clients on /stream at once; one more is answered 503 with Retry-After.
    #[arg(long, env = "RESTAURANT_API_MAX_STREAMS", value_name = "N", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams: u32,

    /// Token that clients must send as `Authorization: Bearer TOKEN`, but for /health and the
    /// documentation [default: none]. Prefer the variable or the file: a command line is visible
    /// to every user of the machine.
    #[arg(long, env = "RESTAURANT_API_TOKEN", hide_env_values = true)]
    pub token: Option<Token>,

    /// File whose first line is the token.
    #[arg(long, env = "RESTAURANT_API_TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,

    /// What to log to standard error: error, warn, info, debug, or a tracing filter.
    #[arg(long, env = "RESTAURANT_API_LOG", default_value = "info")]
    pub log: String,
}

#[derive(Debug, Args)]
pub struct GenerateOptions {
    /// Decides the content of every order, and here the identifiers too.
    #[arg(long, env = "RESTAURANT_API_SEED", default_value_t = 1)]
    pub seed: u64,

    /// Number of events to write.
    #[arg(long, env = "RESTAURANT_API_EVENTS")]
    pub events: u64,

    /// Simulated time of the first guests, RFC 3339.
    #[arg(long, env = "RESTAURANT_API_START", value_name = "TIME", default_value = "2026-01-15T17:00:00Z", value_parser = time)]
    pub start: Micros,

    /// SSE blocks, or one JSON envelope per line.
    #[arg(long, env = "RESTAURANT_API_FORMAT", value_enum, default_value = "sse")]
    pub format: Format,

    #[command(flatten)]
    pub guests: Guests,
}

#[derive(Debug, Args)]
pub struct FillOptions {
    /// Directory of the log; one that holds events is continued.
    #[arg(long, env = "RESTAURANT_API_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Number of events to append. The last guests are served to the end, so a few more may come.
    #[arg(long, env = "RESTAURANT_API_EVENTS")]
    pub events: u64,

    /// Decides the content of every order [default: the directory's, else a random one].
    #[arg(long, env = "RESTAURANT_API_SEED")]
    pub seed: Option<u64>,

    /// Simulated time of the first guests, RFC 3339; not before the latest event of the log.
    #[arg(long, env = "RESTAURANT_API_START", value_name = "TIME", default_value = "2026-01-15T17:00:00Z", value_parser = time)]
    pub start: Micros,

    #[command(flatten)]
    pub guests: Guests,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Sse,
    Ndjson,
}

#[derive(Debug, Args)]
pub struct Guests {
    /// Speed of the day's rhythm: 2 brings twice as many guests per second.
    #[arg(long, env = "RESTAURANT_API_RATE", default_value = "1", value_parser = rate)]
    pub rate: f64,

    /// Time from an order to its feedback, uniform between the two (ms, s, m, h, d).
    #[arg(long, env = "RESTAURANT_API_FEEDBACK_DELAY", value_name = "MIN..MAX",
          default_value = "1h..168h", value_parser = delay)]
    pub feedback_delay: (Micros, Micros),
}

fn pace(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    match text.parse() {
        Ok(0.0) => Ok(Pace::Still),
        Ok(n) if n > 0.0 && f64::is_finite(n) => Ok(Pace::Fixed(n)),
        _ => Err("give a number from 0 on, or max".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(n) if n > 0.0 && f64::is_finite(n) => Ok(n),
        _ => Err("give a number above 0".into()),
    }
}

fn time(text: &str) -> Result<Micros, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| time.timestamp_micros())
        .map_err(|_| "give a time like 2026-01-31T18:00:00Z".into())
}

fn heartbeat(text: &str) -> Result<Duration, String> {
    match span(text)? {
        0 => Err("give a time above 0".into()),
        micros => Ok(Duration::from_micros(micros as u64)),
    }
}

fn delay(text: &str) -> Result<(Micros, Micros), String> {
    let (min, max) = text.split_once("..").ok_or("give two times as MIN..MAX, like 1h..168h")?;
    let (min, max) = (span(min)?, span(max)?);
    if min > max {
        return Err("the shortest time is longer than the longest".into());
    }
    Ok((min, max))
}

/// A number with a unit, in microseconds.
fn span(text: &str) -> Result<Micros, String> {
    let refused = || format!("{text:?} is not a time; give a number with ms, s, m, h or d");
    let unit = text.find(char::is_alphabetic).ok_or_else(refused)?;
    let (number, unit) = text.split_at(unit);
    let unit = match unit {
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        "h" => 3600e6,
        "d" => 86_400e6,
        _ => return Err(refused()),
    };
    let micros = number.parse::<f64>().map_err(|_| refused())? * unit;
    if (0.0..=1e15).contains(&micros) {
        Ok(micros.round() as Micros)
    } else {
        Err(format!("{text:?} is out of range; give 0 to 11574 days"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(delay("1m..10m"), Ok((60_000_000, 600_000_000)));
        assert_eq!(delay("0s..2.5s"), Ok((0, 2_500_000)));
        assert_eq!(span("250ms"), Ok(250_000));
        for wrong in ["5", "5..6", "1h..1m", "1h", "-1s..2s", "s..s", "1w..2w", "1e30d..1e31d"] {
            assert!(delay(wrong).is_err(), "{wrong}");
        }
        assert!(heartbeat("0s").is_err());
    }

    #[test]
    fn paces_are_positive() {
        assert!(matches!(pace("max"), Ok(Pace::Max)));
        assert!(matches!(pace("0.5"), Ok(Pace::Fixed(n)) if n == 0.5));
        assert!(matches!(pace("0"), Ok(Pace::Still)));
        assert!(rate("0").is_err());
        for wrong in ["-1", "NaN", "inf", "fast", ""] {
            assert!(pace(wrong).is_err() && rate(wrong).is_err(), "{wrong}");
        }
    }
}
