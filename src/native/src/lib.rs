//! The door between Python and the ingest core: settings in as JSON text, a report out.
//!
//! A call starts a runtime on a thread of its own and ends it before it returns, so that nothing
//! outlives a fork. Only `watch`, for processes that hold many waits, has a runtime that stays
//! (`watchers.rs`). The calling thread releases the GIL, wakes ten times a second for signals,
//! and is the only one that ever runs Python: log records, mirror and processors come to it as
//! messages.

mod books;
mod cursor;
mod door;
mod errors;
mod host;
mod letters;
mod log;
mod message;
mod parser;
mod run;
mod settings;
mod watch;
mod watchers;

#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::books::{
        doctor, migrate, propose_tables, prune, raw_table_ddl, reset, status, validate,
    };
    #[pymodule_export]
    use super::cursor::CursorPort;
    #[pymodule_export]
    use super::letters::{
        discard_dead_letters, list_dead_letters, replay_dead_letters, show_dead_letter,
    };
    #[pymodule_export]
    use super::parser::Parser;
    #[pymodule_export]
    use super::run::{StopFlag, run};
    #[pymodule_export]
    use super::watch::{look, watch};

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
