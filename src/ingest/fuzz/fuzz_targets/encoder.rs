//! Any value for a column of any kind: well-formed COPY that reads back the same, or refused.

#![no_main]

#[path = "../../tests/replay/mod.rs"]
mod replay;

libfuzzer_sys::fuzz_target!(|input: &[u8]| replay::encoder::check(input));
