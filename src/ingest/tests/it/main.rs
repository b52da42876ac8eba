//! The engine against a real PostgreSQL (`TEST_DATABASE_URL`, a superuser) and a scripted source.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod landing;
mod ownership;
mod processors;
mod recovery;
mod runs;
mod schema;
mod support;
