//! What the engine's threads say to the Python thread that waits for them.

use std::sync::mpsc::SyncSender;

use ingest::Rows;

/// How many messages may wait for the Python thread.
pub(crate) const MESSAGES: usize = 256;

pub(crate) enum Message<T> {
    Log(Record),
    Call(Call),
    Done(Outcome<T>),
}

/// One log line.
pub(crate) struct Record {
    /// Python's number for the level.
    pub(crate) level: u8,
    pub(crate) target: &'static str,
    pub(crate) text: String,
}

/// Something only Python can do. An engine thread is blocked until it is answered; dropping the
/// answer's sender tells it that Python has gone.
pub(crate) enum Call {
    ReadMirror { answer: SyncSender<Result<Option<String>, String>> },
    WriteMirror { position: i64, answer: SyncSender<Result<(), String>> },
    Process { event_type: String, data: String, requests: SyncSender<Request> },
}

/// What a processor asks of the thread that holds its transaction.
pub(crate) enum Request {
    Query {
        sql: String,
        params: Option<Vec<(Option<String>, Option<String>)>>,
        answer: SyncSender<Result<Rows, String>>,
    },
    /// The processor has returned.
    Verdict(Result<(), String>),
}

/// How the engine's thread ended.
pub(crate) enum Outcome<T> {
    Finished(Result<T, ingest::Error>),
    /// The future was dropped because its time after a stop was over.
    Aborted,
    /// The runtime could not be started.
    Failed(std::io::Error),
}
