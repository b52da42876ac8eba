//! The ingest core: Server-Sent Events into PostgreSQL, exactly once.
//!
//! `preset` and `catalog` decide what goes where, `decode` turns event bytes into encoded rows,
//! `batch` gathers them, `store` commits rows, dead letters and offset in one transaction, and
//! `pipeline` is the only loop. No Python, no Airflow, no feed of any particular shop.

mod backfill;
mod batch;
mod catalog;
mod config;
mod connect;
mod cursor;
mod dead_letters;
mod decode;
mod doctor;
mod encode;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod gaps;
mod grow;
mod handover;
mod history;
mod host;
mod intake;
mod land;
mod lanes;
mod lease;
mod migrate;
mod mirror;
mod notice;
mod oauth;
mod offsets;
mod pages;
mod pipeline;
mod preset;
mod progress;
mod propose;
mod raw_table;
mod recovery;
mod replay;
mod report;
mod reset;
mod run;
mod seek;
mod selector;
mod settle;
mod source;
mod status;
mod store;
mod validate;
mod waiting;
mod watch;

pub use config::{
    BadEvents, BatchConfig, GapPolicy, Limits, MaxDeadLetters, RunConfig, RunIdentity, SourceKind,
    Stop, UnknownEvents, Until,
};
pub use connect::DatabaseConfig;
pub use cursor::Params;
pub use dead_letters::{Selection, discard_dead_letters, list_dead_letters, show_dead_letter};
pub use doctor::{Examination, Tolerance, doctor};
pub use error::{Error, ErrorKind};
pub use history::{Pruned, prune};
pub use host::{Cursor, Host, NoHost, ProcessorEvent, Rows, Value};
pub use migrate::{Applied, Migration, migrate};
pub use oauth::ClientCredentials;
pub use preset::{Offsets, Preset, ResumeClass};
pub use propose::{ColumnPlan, TablePlan, propose};
pub use raw_table::RawTable;
pub use replay::{Replay, Replayed, replay};
pub use report::{DriftCounts, Report, StopReason};
pub use reset::{Reset, plan_reset, reset};
pub use run::run;
pub use status::status;
pub use validate::validate;
pub use watch::{Position, Seen, Sight, Watch, position, watch};
