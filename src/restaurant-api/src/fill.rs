//! A data directory with a past: simulated time straight into the log, at full speed.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::cli::FillOptions;
use crate::log::{Continued, Log, Retention};
use crate::past::Past;
use crate::simulator::{Micros, Settings, Simulator, Step};

/// Events of one append, at least: the same as a flat-out producer's.
const STEP: usize = 512;

/// Appends events to the log of a directory, which may hold some already, and says on standard
/// output what it holds then.
///
/// # Errors
/// If the directory cannot be used or written, or if the story would run into the future.
pub fn run(options: &FillOptions) -> Result<(), Box<dyn Error>> {
    let (seed, epoch) = random_identity()?;
    // Nothing is dropped here; what is kept is for the server to say.
    let all = Retention { events: u64::MAX, bytes: u64::MAX };
    let Continued { log, epoch, seed, state } =
        Log::open(&options.data_dir, options.seed, all, || (seed, epoch))?;
    let settings = Settings { seed, epoch, feedback_delay: options.guests.feedback_delay };
    let simulator = Simulator::new(settings, state);
    let mut past = Past::new(simulator, options.start, options.guests.rate);
    let today = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as Micros;
    let last = log.bounds().last + options.events;
    let mut step = Step::default();
    let written = loop {
        let written = log.bounds().last;
        if written >= last {
            break Ok(());
        }
        step.clear();
        while step.events.len() < STEP && written + (step.events.len() as u64) < last {
            past.advance(&mut step);
        }
        if past.now() > today {
            break Err(format!(
                "after {written} events the story reaches the present; \
                 choose an earlier --start or a higher --rate"
            ));
        }
        log.append(&step, past.simulator().state())?;
    };
    let bounds = log.bounds();
    log.close()?;
    written?;
    let (first, last, bytes) = (bounds.first, bounds.last, bounds.bytes);
    println!(
        "offsets {first} to {last} of epoch {epoch}, seed {seed}; serve them with \
         --retain-events {last} --retain-bytes {bytes}, or more"
    );
    Ok(())
}

/// A seed and an epoch for a log that begins.
///
/// # Errors
/// If the system has no randomness to give.
pub fn random_identity() -> Result<(u64, Uuid), String> {
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| format!("cannot draw a seed: {error}"))?;
    let [a, b, c, d, e, f, g, h, id @ ..] = random;
    // 53 bits, so that the seed survives any JSON reader on its way back to --seed.
    let seed = u64::from_le_bytes([a, b, c, d, e, f, g, h]) >> 11;
    Ok((seed, uuid::Builder::from_random_bytes(id).into_uuid()))
}
