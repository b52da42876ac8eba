//! The runtime of the waits: one thread that holds thousands of connections for a process that
//! lives on, such as Airflow's triggerer.
//!
//! It is born with the first wait and belongs to the process that made it. A forked child inherits
//! the memory of a runtime whose thread it does not have; it makes its own.

use std::cell::OnceCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use pyo3_async_runtimes::generic::{ContextExt, Runtime};
use tokio::runtime::{Builder, Handle};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Sessions that may ask the books for a position at once.
const SESSIONS: usize = 4;
/// Threads for name lookup and for handing results to Python.
const BLOCKING_THREADS: usize = 8;
/// Time for what is under way when the interpreter ends.
const GRACE: Duration = Duration::from_secs(1);

struct Home {
    process: u32,
    runtime: tokio::runtime::Runtime,
    permits: Arc<Semaphore>,
}

/// Locked only for a moment and by threads that hold the GIL, as does who forks: so no child
/// inherits it locked.
static HOME: Mutex<Option<Home>> = Mutex::new(None);

/// The runtime that `pyo3-async-runtimes` spawns on.
pub(crate) struct Watchers;

impl Watchers {
    /// Makes the runtime of this process if there is none.
    pub(crate) fn ready(py: Python<'_>) -> PyResult<()> {
        let mut home = HOME.lock().unwrap_or_else(PoisonError::into_inner);
        if home.as_ref().is_some_and(|home| home.process == process::id()) {
            return Ok(());
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("sse_stream-watch")
            .enable_all()
            .build()?;
        let permits = Arc::new(Semaphore::new(SESSIONS));
        let old = home.replace(Home { process: process::id(), runtime, permits });
        // The thread of a parent's runtime is not here to be waited for.
        mem::forget(old);
        py.import("atexit")?.call_method1("register", (wrap_pyfunction!(end_watchers, py)?,))?;
        Ok(())
    }
}

/// Ends the runtime before the interpreter does: a thread that came for the GIL after that would
/// be ended by CPython in the middle of ours, which aborts the process.
#[pyfunction]
fn end_watchers(py: Python<'_>) {
    let home = HOME.lock().unwrap_or_else(PoisonError::into_inner).take();
    match home {
        Some(home) if home.process == process::id() => {
            py.detach(|| home.runtime.shutdown_timeout(GRACE));
        }
        inherited => mem::forget(inherited),
    }
}

fn handle() -> Handle {
    // A task means the runtime it runs on; only its first step comes from Python.
    Handle::try_current().unwrap_or_else(|_| {
        let home = HOME.lock().unwrap_or_else(PoisonError::into_inner);
        home.as_ref().expect("`ready` was called").runtime.handle().clone()
    })
}

/// What must be held to ask the books.
pub(crate) fn permits() -> Arc<Semaphore> {
    let home = HOME.lock().unwrap_or_else(PoisonError::into_inner);
    home.as_ref().map_or_else(|| Arc::new(Semaphore::new(SESSIONS)), |home| home.permits.clone())
}

impl Runtime for Watchers {
    type JoinError = tokio::task::JoinError;
    type JoinHandle = JoinHandle<()>;

    fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> Self::JoinHandle {
        handle().spawn(future)
    }

    fn spawn_blocking<F: FnOnce() + Send + 'static>(call: F) -> Self::JoinHandle {
        handle().spawn_blocking(call)
    }
}

tokio::task_local! {
    static LOCALS: OnceCell<TaskLocals>;
}

impl ContextExt for Watchers {
    fn scope<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(LOCALS.scope(OnceCell::from(locals), future))
    }

    fn get_task_locals() -> Option<TaskLocals> {
        LOCALS.try_with(|locals| locals.get().cloned()).unwrap_or_default()
    }
}
