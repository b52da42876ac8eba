//! A corpus: the same chain in simulated time, as fast as it can be written.

use std::io::{self, Write};

use crate::cli::{Format, GenerateOptions};
use crate::past::Past;
use crate::simulator::{Settings, Simulator, State, Step, epoch_of_seed};
use crate::wire::{BLOCK_TAIL, Encoder};

const BUFFER: usize = 256 << 10;

/// Writes the corpus to standard output. A reader that has had enough is no error.
///
/// # Errors
/// If standard output cannot be written for another reason.
pub fn run(options: &GenerateOptions) -> io::Result<()> {
    match write(options, &mut io::stdout().lock()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes the corpus; the options decide every byte of it.
///
/// # Errors
/// If `out` fails.
pub fn write(options: &GenerateOptions, out: &mut impl Write) -> io::Result<()> {
    let settings = Settings {
        seed: options.seed,
        epoch: epoch_of_seed(options.seed),
        feedback_delay: options.guests.feedback_delay,
    };
    let state = State { last_ts: options.start, ..State::default() };
    let simulator = Simulator::new(settings, state);
    let mut past = Past::new(simulator, options.start, options.guests.rate);
    let mut sink = Sink {
        out,
        format: options.format,
        last: options.events,
        offset: 0,
        encoder: Encoder::default(),
        buffer: Vec::with_capacity(BUFFER + (64 << 10)),
    };
    let mut step = Step::default();
    while sink.offset < sink.last {
        past.advance(&mut step);
        sink.take(&mut step)?;
    }
    sink.out.write_all(&sink.buffer)?;
    sink.out.flush()
}

struct Sink<'a, W> {
    out: &'a mut W,
    format: Format,
    last: u64,
    offset: u64,
    encoder: Encoder,
    buffer: Vec<u8>,
}

impl<W: Write> Sink<'_, W> {
    fn take(&mut self, step: &mut Step) -> io::Result<()> {
        for event in &step.events {
            if self.offset == self.last {
                break;
            }
            self.offset += 1;
            let start = self.buffer.len();
            let entry = self.encoder.block(self.offset, event, &mut self.buffer);
            if self.format == Format::Ndjson {
                let end = self.buffer.len() - BLOCK_TAIL + 1;
                self.buffer.truncate(end);
                self.buffer.drain(start..start + usize::from(entry.json));
            }
        }
        step.clear();
        if self.buffer.len() >= BUFFER {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}
