//! Any data for events of every kind: all their rows, exact, or a reason, and no neighbour touched.

#![no_main]

#[path = "../../tests/replay/mod.rs"]
mod replay;

libfuzzer_sys::fuzz_target!(|input: &[u8]| replay::decoder::check(input));
