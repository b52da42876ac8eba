//! The wait: a runtime on its own thread, and the Python thread that serves and watches it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ingest::Stop;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use tokio::sync::oneshot;
use tracing::Dispatch;

use crate::cursor::CursorPort;
use crate::errors;
use crate::log::Forwarder;
use crate::message::{Call, MESSAGES, Message, Outcome, Record, Request};

/// How often signals are looked at.
const SLICE: Duration = Duration::from_millis(100);
/// Time for a committed end after a signal. Then the open batch is rolled back, which leaves
/// a committed offset as well.
const GRACE: Duration = Duration::from_millis(750);
/// The same after a stop that nobody's exception came with.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Time for the runtime's threads to end.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// What Python offers to a call.
pub(crate) struct Surroundings {
    pub(crate) host: Option<Py<PyAny>>,
    pub(crate) log: Option<Py<PyAny>>,
    pub(crate) log_level: u8,
    pub(crate) stop: Stop,
}

/// Runs the future that `start` makes to its end and returns its result.
///
/// An exception that a signal handler, a log call or a `BaseException` in a processor raises
/// stops the engine and is raised after its end.
pub(crate) fn call<T, F>(
    py: Python<'_>,
    surroundings: &Surroundings,
    start: impl FnOnce(SyncSender<Message<T>>) -> F + Send + 'static,
) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ingest::Error>> + Send + 'static,
{
    let (messages, inbox) = sync_channel(MESSAGES);
    let (abort, aborted) = oneshot::channel();
    let level = if surroundings.log.is_some() { surroundings.log_level } else { u8::MAX };
    let engine = thread::Builder::new()
        .name("sse_stream".into())
        .spawn(move || engine(start, &messages, level, aborted))?;
    let mut watch = Watch {
        surroundings,
        inbox: Mutex::new(inbox),
        abort: Some(abort),
        deadline: None,
        raised: None,
        unanswered: None,
    };
    let outcome = watch.until_done(py);
    let Watch { raised, unanswered, inbox, .. } = watch;
    // Engine threads that still wait for an answer learn that there will be none.
    drop((unanswered, inbox));
    let panicked = py.detach(|| engine.join()).is_err();
    if let Some(raised) = raised {
        return Err(raised);
    }
    match outcome {
        Some(Outcome::Finished(Ok(value))) => Ok(value),
        Some(Outcome::Finished(Err(error))) => Err(errors::exception(&error)),
        Some(Outcome::Aborted) => Err(errors::aborted()),
        Some(Outcome::Failed(error)) => Err(error.into()),
        None => Err(PyRuntimeError::new_err(if panicked {
            "the engine panicked; this is a bug, its message stands on standard error"
        } else {
            "the engine ended without a result; this is a bug"
        })),
    }
}

/// The body of the engine's thread: the runtime is born and ends here.
fn engine<T, F>(
    start: impl FnOnce(SyncSender<Message<T>>) -> F,
    messages: &SyncSender<Message<T>>,
    level: u8,
    aborted: oneshot::Receiver<()>,
) where
    T: Send + 'static,
    F: Future<Output = Result<T, ingest::Error>>,
{
    let dispatch = Dispatch::new(Forwarder::new(messages.clone(), level));
    let threads = dispatch.clone();
    // One thread carries far more than any database takes, without handing work over; blocking calls
    // have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .thread_name("sse_stream-io")
        .enable_all()
        .on_thread_start(move || {
            GUARD.with_borrow_mut(|guard| {
                *guard = Some(tracing::dispatcher::set_default(&threads));
            })
        })
        .on_thread_stop(|| GUARD.with_borrow_mut(|guard| *guard = None))
        .build();
    let outcome = match runtime {
        Err(error) => Outcome::Failed(error),
        Ok(runtime) => {
            let future = start(messages.clone());
            let outcome = tracing::dispatcher::with_default(&dispatch, || {
                catch_unwind(AssertUnwindSafe(|| {
                    runtime.block_on(async {
                        tokio::select! {
                            result = future => Outcome::Finished(result),
                            // A sender that was dropped is no wish to abort.
                            Ok(()) = aborted => Outcome::Aborted,
                        }
                    })
                }))
            });
            match outcome {
                // A blocking thread may wait for a processor that will never answer: no waiting.
                Ok(Outcome::Aborted) => runtime.shutdown_background(),
                _ => runtime.shutdown_timeout(SHUTDOWN),
            }
            match outcome {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    };
    // Fails only if the Python thread has gone, which then needs no answer.
    let _ = messages.send(Message::Done(outcome));
}

thread_local! {
    static GUARD: std::cell::RefCell<Option<tracing::dispatcher::DefaultGuard>> =
        const { std::cell::RefCell::new(None) };
}

/// The Python thread while it waits.
struct Watch<'a, T> {
    surroundings: &'a Surroundings,
    inbox: Mutex<Receiver<Message<T>>>,
    abort: Option<oneshot::Sender<()>>,
    deadline: Option<Instant>,
    /// The exception to raise at the end.
    raised: Option<PyErr>,
    /// The event whose processor was interrupted: answered by nothing, so that it can neither
    /// land nor become a dead letter before its batch is gone.
    unanswered: Option<SyncSender<Request>>,
}

impl<T: Send> Watch<'_, T> {
    fn until_done(&mut self, py: Python<'_>) -> Option<Outcome<T>> {
        loop {
            let inbox = &self.inbox;
            let next = py.detach(|| {
                inbox.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(SLICE)
            });
            let served = match next {
                Ok(Message::Done(outcome)) => return Some(outcome),
                Ok(Message::Log(record)) => self.write(py, record),
                Ok(Message::Call(call)) => self.serve(py, call),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            if let Err(raised) = served.and_then(|()| py.check_signals()) {
                self.interrupt(raised);
            }
            if self.deadline.is_none() && self.surroundings.stop.is_set() {
                self.deadline = Some(Instant::now() + STOP_GRACE);
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.abort();
            }
        }
    }

    fn interrupt(&mut self, raised: PyErr) {
        self.surroundings.stop.set();
        if self.raised.is_some() {
            // Asked twice: at once, then.
            self.abort();
        } else {
            self.raised = Some(raised);
            self.deadline = Some(Instant::now() + GRACE);
        }
    }

    fn abort(&mut self) {
        if let Some(abort) = self.abort.take() {
            // Fails only if the engine has ended in the meantime.
            let _ = abort.send(());
        }
    }

    fn write(&self, py: Python<'_>, record: Record) -> PyResult<()> {
        if let Some(log) = &self.surroundings.log {
            log.call1(py, (record.level, record.target, record.text))?;
        }
        Ok(())
    }

    fn serve(&mut self, py: Python<'_>, call: Call) -> PyResult<()> {
        let Some(host) = &self.surroundings.host else { return Ok(()) };
        let host = host.bind(py);
        match call {
            Call::ReadMirror { answer } => {
                let text = host.call_method0("read_mirror").and_then(|text| text.extract());
                let _ = answer.send(told(py, text)?);
            }
            Call::WriteMirror { position, answer } => {
                let done = host.call_method1("write_mirror", (position,)).map(|_| ());
                let _ = answer.send(told(py, done)?);
            }
            Call::Process { event_type, data, requests } => {
                let port = Bound::new(py, CursorPort::new(requests.clone()))?;
                let done = host.call_method1("process", (event_type, data, &port)).map(|_| ());
                port.get().close();
                match told(py, done) {
                    Ok(verdict) => {
                        let _ = requests.send(Request::Verdict(verdict));
                    }
                    Err(raised) => {
                        self.unanswered = Some(requests);
                        self.interrupt(raised);
                        self.abort();
                    }
                }
            }
        }
        Ok(())
    }
}

/// Tells a failure that the engine should hear of from an interruption that ends the call.
fn told<V>(py: Python<'_>, result: PyResult<V>) -> PyResult<Result<V, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(Err(text(py, &error))),
        Err(error) => Err(error),
    }
}

fn text(py: Python<'_>, error: &PyErr) -> String {
    let name =
        error.get_type(py).name().map_or_else(|_| "Exception".into(), |name| name.to_string());
    let message = error.value(py).to_string();
    let line: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = line.chars().take(500).collect();
    if cut.is_empty() { name } else { format!("{name}: {cut}") }
}
