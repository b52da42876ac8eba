//! The engine's view of its surroundings: every question becomes a message to the Python thread.

use std::collections::HashSet;
use std::sync::mpsc::{SyncSender, sync_channel};

use ingest::{Cursor, Host, ProcessorEvent};

use crate::message::{Call, Message, Request};

const GONE: &str = "the task is ending";

pub(crate) struct Bridge<T> {
    pub(crate) messages: SyncSender<Message<T>>,
    pub(crate) processors: HashSet<String>,
    pub(crate) has_mirror: bool,
}

impl<T: Send + 'static> Bridge<T> {
    fn ask<A>(
        &self,
        call: impl FnOnce(SyncSender<Result<A, String>>) -> Call,
    ) -> Result<A, String> {
        let (answer, answered) = sync_channel(1);
        self.messages.send(Message::Call(call(answer))).map_err(|_| GONE)?;
        answered.recv().map_err(|_| GONE)?
    }
}

impl<T: Send + 'static> Host for Bridge<T> {
    fn has_mirror(&self) -> bool {
        self.has_mirror
    }

    fn read_mirror(&self) -> Result<Option<String>, String> {
        if !self.has_mirror {
            return Ok(None);
        }
        self.ask(|answer| Call::ReadMirror { answer })
    }

    fn write_mirror(&self, position: i64) -> Result<(), String> {
        if !self.has_mirror {
            return Ok(());
        }
        self.ask(|answer| Call::WriteMirror { position, answer })
    }

    fn processor(&self, event_type: &str) -> bool {
        self.processors.contains(event_type)
    }

    fn has_processors(&self) -> bool {
        !self.processors.is_empty()
    }

    fn process(&self, event: &ProcessorEvent, cursor: &mut Cursor) -> Result<(), String> {
        let (requests, requested) = sync_channel(1);
        let ProcessorEvent { event_type, data } = event.clone();
        self.messages
            .send(Message::Call(Call::Process { event_type, data, requests }))
            .map_err(|_| GONE)?;
        loop {
            match requested.recv() {
                Ok(Request::Query { sql, params, answer }) => {
                    let params: Option<Vec<_>> = params.as_ref().map(|params| {
                        params
                            .iter()
                            .map(|(name, value)| (name.as_deref(), value.clone()))
                            .collect()
                    });
                    // Who asked may have gone; that shows at the next message.
                    let _ = answer.send(cursor.execute(&sql, params.as_deref()));
                }
                Ok(Request::Verdict(verdict)) => return verdict,
                Err(_) => return Err(GONE.into()),
            }
        }
    }
}
