//! A restaurant chain in a box: a seeded simulator, a durable event log, REST and SSE.
//!
//! It stands for a system that we do not own, so nothing here knows who reads it.

pub mod cli;
pub mod fill;
pub mod generate;
pub mod http;
pub mod log;
pub mod past;
pub mod producer;
pub mod serve;
pub mod simulator;
pub mod token;
pub mod wire;
