//! Any bytes, cut anywhere, under small limits: no panic, and the same items as in one piece.

#![no_main]

#[path = "../../tests/replay/mod.rs"]
mod replay;

libfuzzer_sys::fuzz_target!(|input: &[u8]| replay::check(input));
