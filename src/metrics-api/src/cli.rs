//! The command line. Each option may also come from the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Serves what landed in the restaurant's database: figures by the minute, a live stream, a page.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Options {
    /// Address and port to listen on; port 0 takes a free one and logs it.
    #[arg(long, env = "METRICS_API_LISTEN", default_value = "127.0.0.1:8010")]
    pub listen: SocketAddr,

    /// The restaurant's database, as a login that may only read: postgresql://USER:PASSWORD@HOST/NAME,
    /// with libpq's sslmode, sslrootcert, sslcert and sslkey behind a question mark. Prefer the
    /// variable: a command line is visible to every user of the machine.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// Name of the stream whose pipeline is shown, its shards included.
    #[arg(long, env = "METRICS_API_STREAM", default_value = "restaurant")]
    pub stream: String,

    /// Base address of the source, which answers /health with last_offset and epoch; how far the
    /// pipeline lags behind is unknown without it.
    #[arg(long, env = "METRICS_API_SOURCE_URL", value_name = "URL", value_parser = address)]
    pub source_url: Option<String>,

    /// Base address of Airflow's web page, for links to runs that left none themselves.
    #[arg(long, env = "METRICS_API_AIRFLOW_URL", value_name = "URL", value_parser = address)]
    pub airflow_url: Option<String>,

    /// Seconds without a sign of the source after which /ready says no.
    #[arg(long, env = "METRICS_API_STALE_AFTER", value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub stale_after: u32,

    /// Sessions with the database at once, beside the one that listens for commits.
    #[arg(long, env = "METRICS_API_CONNECTIONS", value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub connections: u32,

    /// Clients on /live at once; one more is answered 503 with Retry-After.
    #[arg(long, env = "METRICS_API_MAX_CLIENTS", value_name = "N", default_value_t = 2000,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients: u32,

    /// Different filters on /live at once: each is computed once for all its clients.
    #[arg(long, env = "METRICS_API_MAX_FILTERS", value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_filters: u32,

    /// Shortest time between two messages of figures, however often the pipeline commits.
    #[arg(long, env = "METRICS_API_INTERVAL_MS", value_name = "MS", default_value_t = 250,
          value_parser = clap::value_parser!(u32).range(50..=1000))]
    pub interval_ms: u32,

    /// Seconds after which a client that takes nothing is cut off.
    #[arg(long, env = "METRICS_API_PATIENCE", value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub patience: u32,

    /// File of lines `viewer:TOKEN` and `operator:TOKEN`; clients then send
    /// `Authorization: Bearer TOKEN` [default: everything is open].
    #[arg(long, env = "METRICS_TOKENS_FILE", value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,

    /// What to log to standard error: error, warn, info, debug, or a tracing filter.
    #[arg(long, env = "METRICS_API_LOG", default_value = "info")]
    pub log: String,
}

fn address(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains('@') => {
            Ok(text.trim_end_matches('/').into())
        }
        _ => Err("give an address like http://127.0.0.1:8000, without a login".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn addresses_are_http_and_carry_no_login() {
        assert_eq!(address("http://here:8000/"), Ok("http://here:8000".into()));
        for wrong in ["here:8000", "http://", "ftp://here", "http://me:word@here"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
