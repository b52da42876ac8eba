//! The engine against a real PostgreSQL (`TEST_DATABASE_URL`, a superuser) and a scripted source.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod bounds;
mod direct;
mod drift;
mod exact;
mod feed;
mod gaps;
mod identity;
mod landing;
mod notices;
mod order;
mod ownership;
mod policy;
mod processors;
mod raw;
mod recovery;
mod replay;
mod runs;
mod schema;
mod state;
mod support;
mod throughput;
mod tls;
mod types;
mod waiting;
mod writers;
