//! The real program over a real PostgreSQL with the restaurant's schema.
#![allow(clippy::unwrap_used)]

mod crowd;
mod database;
mod faults;
mod figures;
mod live;
mod pipeline;
mod proxy;
mod refusals;
mod roles;
mod server;
mod tls;
