//! The settings of a call: JSON text from Python, checked here once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ingest::{
    BadEvents, BatchConfig, ClientCredentials, DatabaseConfig, GapPolicy, Limits, MaxDeadLetters,
    Preset, RawTable, RunConfig, RunIdentity, SourceKind, UnknownEvents, Until,
};
use pyo3::PyResult;
use serde::Deserialize;

use crate::errors;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    source: Source,
    database: Database,
    /// TOML text.
    preset: String,
    /// A table for all events as they come, beside the preset's routes.
    #[serde(default)]
    raw_table: Option<Raw>,
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    shard: i32,
    #[serde(default = "one")]
    writers: usize,
    #[serde(default)]
    max_events: Option<u64>,
    #[serde(default)]
    timeout_seconds: Option<f64>,
    #[serde(default)]
    idle_timeout_seconds: Option<f64>,
    #[serde(default)]
    window_from: Option<String>,
    #[serde(default)]
    until_time: Option<String>,
    #[serde(default)]
    until_offset: Option<i64>,
    #[serde(default)]
    drain: bool,
    #[serde(default)]
    batch_events: Option<usize>,
    #[serde(default)]
    linger_ms: Option<u64>,
    #[serde(default)]
    max_batch_bytes: Option<usize>,
    #[serde(default)]
    unknown_events: Unknown,
    #[serde(default)]
    on_bad_event: OnBadEvent,
    #[serde(default)]
    max_dead_letters: Option<u64>,
    #[serde(default)]
    max_dead_letter_share: Option<f64>,
    #[serde(default)]
    backfill_url: Option<String>,
    #[serde(default)]
    gap_policy: OnGap,
    #[serde(default = "day")]
    max_wait_seconds: f64,
    #[serde(default = "minute")]
    lease_timeout_seconds: f64,
    #[serde(default = "five")]
    progress_seconds: f64,
    #[serde(default)]
    run: Identity,
}

/// libpq's keywords.
pub(crate) type Database = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    url: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    oauth: Option<OAuth>,
    #[serde(default)]
    compression: bool,
    /// An address, or `environment`.
    #[serde(default)]
    proxy: Option<String>,
    /// Paths of PEM files: the authorities to trust, our certificate and its key.
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    client_cert: Option<PathBuf>,
    #[serde(default)]
    client_key: Option<PathBuf>,
    #[serde(default)]
    read_timeout_seconds: Option<f64>,
    #[serde(default)]
    max_attempts: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OAuth {
    token_url: String,
    client_id: String,
    client_secret: String,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    audience: Option<String>,
    #[serde(default)]
    in_body: bool,
}

impl From<OAuth> for ClientCredentials {
    fn from(oauth: OAuth) -> Self {
        let OAuth { token_url, client_id, client_secret, scope, audience, in_body } = oauth;
        Self { token_url, client_id, client_secret, scope, audience, in_body }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    table: String,
    #[serde(default)]
    create: bool,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Stream,
    Poll,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Unknown {
    #[default]
    DeadLetter,
    RawOnly,
    Ignore,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum OnBadEvent {
    #[default]
    DeadLetter,
    Fail,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum OnGap {
    #[default]
    Warn,
    Fail,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Identity {
    dag_id: String,
    task_id: String,
    run_id: String,
    map_index: i32,
    try_number: i32,
    log_url: String,
    owner: String,
}

impl From<Identity> for RunIdentity {
    fn from(run: Identity) -> Self {
        let Identity { dag_id, task_id, run_id, map_index, try_number, log_url, owner } = run;
        Self { dag_id, task_id, run_id, map_index, try_number, log_url, owner }
    }
}

fn day() -> f64 {
    86_400.0
}

fn one() -> usize {
    1
}

fn minute() -> f64 {
    60.0
}

fn five() -> f64 {
    5.0
}

impl Settings {
    pub(crate) fn parse(text: &str) -> PyResult<RunConfig> {
        let settings: Self = serde_json::from_str(text).map_err(|error| {
            errors::config(format!("the settings are not valid: {}", why(&error)))
        })?;
        settings.into_run()
    }

    fn into_run(self) -> PyResult<RunConfig> {
        let defaults = BatchConfig::default();
        let bad_events =
            match (self.on_bad_event, self.max_dead_letters, self.max_dead_letter_share) {
                (OnBadEvent::Fail, ..) => BadEvents::Fail,
                (_, Some(count), _) => BadEvents::KeepUpTo(MaxDeadLetters::Count(count)),
                (_, _, Some(share)) => BadEvents::KeepUpTo(MaxDeadLetters::Share(share)),
                _ => BadEvents::Keep,
            };
        let mut preset = Preset::parse(&self.preset).map_err(|error| errors::exception(&error))?;
        let raw_table = self.raw_table.map(|raw| RawTable { table: raw.table, create: raw.create });
        if let Some(raw) = &raw_table {
            raw.add_to(&mut preset).map_err(|error| errors::exception(&error))?;
        }
        Ok(RunConfig {
            source_kind: match self.source.kind {
                Kind::Stream => SourceKind::Stream,
                Kind::Poll => SourceKind::Poll,
            },
            source: self.source.into_client()?,
            database: database_config(&self.database)?,
            preset,
            raw_table,
            stream: self.stream,
            shard: self.shard,
            writers: self.writers,
            limits: Limits {
                max_events: self.max_events,
                timeout: optional("timeout_seconds", self.timeout_seconds)?,
                idle_timeout: optional("idle_timeout_seconds", self.idle_timeout_seconds)?,
                from: moment("window_from", self.window_from.as_deref())?,
                until: match (self.until_offset, self.until_time.as_deref()) {
                    (Some(offset), _) => Some(Until::Offset(offset)),
                    (None, time) => moment("until_time", time)?.map(Until::Time),
                },
                drain: self.drain,
            },
            batch: BatchConfig {
                events: self.batch_events.unwrap_or(defaults.events),
                linger: self.linger_ms.map_or(defaults.linger, Duration::from_millis),
                max_bytes: self.max_batch_bytes.unwrap_or(defaults.max_bytes),
            },
            unknown_events: match self.unknown_events {
                Unknown::DeadLetter => UnknownEvents::DeadLetter,
                Unknown::RawOnly => UnknownEvents::RawOnly,
                Unknown::Ignore => UnknownEvents::Ignore,
            },
            bad_events,
            backfill_url: self.backfill_url,
            gap_policy: match self.gap_policy {
                OnGap::Warn => GapPolicy::Warn,
                OnGap::Fail => GapPolicy::Fail,
            },
            max_wait: seconds("max_wait_seconds", self.max_wait_seconds)?,
            lease_timeout: seconds("lease_timeout_seconds", self.lease_timeout_seconds)?,
            progress_every: seconds("progress_seconds", self.progress_seconds)?,
            run: self.run.into(),
        })
    }
}

impl Source {
    pub(crate) fn into_client(self) -> PyResult<sse::ClientConfig> {
        let mut client = sse::ClientConfig::new(self.url);
        client.headers = self.headers.into_iter().collect();
        client.tls = sse::Tls {
            ca_file: self.ca_file,
            client_cert: self.client_cert,
            client_key: self.client_key,
        };
        client.user_agent = concat!("sse_stream/", env!("CARGO_PKG_VERSION")).into();
        client.max_attempts = self.max_attempts;
        client.method = self.method.unwrap_or(client.method);
        client.body = self.body.map(Into::into);
        client.compression = self.compression;
        client.proxy = match self.proxy {
            None => sse::Proxy::None,
            Some(proxy) if proxy == "environment" => sse::Proxy::Environment,
            Some(url) => sse::Proxy::Url(url),
        };
        if let Some(timeout) = optional("read_timeout_seconds", self.read_timeout_seconds)? {
            client.read_timeout = timeout;
        }
        if let Some(oauth) = self.oauth.map(ClientCredentials::from) {
            let credentials = oauth.for_source(&client);
            client.credentials = Some(credentials.map_err(|error| errors::exception(&error))?);
        }
        Ok(client)
    }
}

/// What is wrong with JSON text, without the value that is wrong: it may be a secret.
fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let names_only = ["unknown field", "missing field", "duplicate field"];
    if names_only.iter().any(|kind| text.starts_with(kind)) || !error.is_data() {
        return text;
    }
    format!("a value of the wrong kind at column {}", error.column())
}

/// Reads libpq's keywords from a JSON object.
pub(crate) fn database(text: &str) -> PyResult<DatabaseConfig> {
    let params: Database = serde_json::from_str(text).map_err(|_| {
        errors::config("the database settings are not a JSON object of texts by libpq keyword")
    })?;
    database_config(&params)
}

pub(crate) fn database_config(params: &Database) -> PyResult<DatabaseConfig> {
    DatabaseConfig::from_params(params).map_err(|error| errors::exception(&error))
}

fn moment(name: &str, text: Option<&str>) -> PyResult<Option<jiff::Timestamp>> {
    let read = |text: &str| {
        text.parse::<jiff::Timestamp>().map_err(|_| {
            errors::config(format!("{name} is no time in ISO 8601 with an offset from UTC"))
        })
    };
    text.map(read).transpose()
}

fn optional(name: &str, value: Option<f64>) -> PyResult<Option<Duration>> {
    value.map(|value| seconds(name, value)).transpose()
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| errors::config(format!("{name} is not a number of seconds")))
}
