//! Log records of one call, sent to the thread that waits for it.
//!
//! The subscriber belongs to the call, not to the process: two calls side by side, or a call in
//! a forked child, never see each other's records.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::message::{Message, Record};

/// Only our own crates: what libraries log at debug level may hold headers or statements.
const TARGETS: [&str; 3] = ["ingest", "sse", "_native"];

pub(crate) struct Forwarder<T> {
    records: SyncSender<Message<T>>,
    level: LevelFilter,
    /// Records that found the channel full.
    lost: AtomicU64,
}

impl<T> Forwarder<T> {
    /// `level` is Python's number: 10 debug, 20 info, 30 warning, 40 error.
    pub(crate) fn new(records: SyncSender<Message<T>>, level: u8) -> Self {
        let level = match level {
            0..=9 => LevelFilter::TRACE,
            10..=19 => LevelFilter::DEBUG,
            20..=29 => LevelFilter::INFO,
            30..=39 => LevelFilter::WARN,
            40..=49 => LevelFilter::ERROR,
            _ => LevelFilter::OFF,
        };
        Self { records, level, lost: AtomicU64::new(0) }
    }

    fn send(&self, level: u8, target: &'static str, text: String) {
        // A record never makes the engine wait: who does not read loses lines, not throughput.
        if self.records.try_send(Message::Log(Record { level, target, text })).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<T: Send + 'static> Subscriber for Forwarder<T> {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Another call may want another level, so nothing is decided once and for all.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let root = metadata.target().split("::").next().unwrap_or_default();
        metadata.is_event() && *metadata.level() <= self.level && TARGETS.contains(&root)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.send(30, "_native", format!("{lost} log lines were left out"));
        }
        self.send(python_level(*metadata.level()), metadata.target(), line.finish());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn python_level(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

/// The message, then the fields as `name=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
