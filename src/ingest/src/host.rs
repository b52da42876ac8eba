//! What the surroundings of a run (Airflow, in practice) offer to it. Every method is called
//! from a blocking thread, never from the runtime's own.

pub use crate::cursor::{Cursor, Rows, Value};

/// One event as a processor sees it.
#[derive(Clone, Debug)]
pub struct ProcessorEvent {
    pub event_type: String,
    /// The event's data: JSON text that was checked to be an object.
    pub data: String,
}

/// The surroundings of a run. The default methods are those of a caller without any.
pub trait Host: Send + Sync + 'static {
    /// Whether there is an offset mirror (the Airflow Variable) to show the offset in.
    fn has_mirror(&self) -> bool {
        false
    }

    /// The mirror's text, `None` where it holds none.
    fn read_mirror(&self) -> Result<Option<String>, String> {
        Ok(None)
    }

    /// Sets the offset mirror.
    fn write_mirror(&self, _position: i64) -> Result<(), String> {
        Ok(())
    }

    /// Whether events of this type are handled by [`Host::process`] instead of the preset's routes.
    fn processor(&self, _event_type: &str) -> bool {
        false
    }

    /// Whether any type is handled so.
    fn has_processors(&self) -> bool {
        false
    }

    /// Handles one event inside the batch's transaction. An error makes the event a dead letter.
    fn process(&self, _event: &ProcessorEvent, _cursor: &mut Cursor) -> Result<(), String> {
        Ok(())
    }
}

/// A caller without mirror and processors.
pub struct NoHost;

impl Host for NoHost {}
