//! What landed, minute by minute: REST, a live stream, Prometheus and the page that shows them.
//!
//! It reads as `analytics_reader` and writes nothing. What it knows of the restaurant stands in the
//! statements under `sql/`.

pub mod cli;
pub mod connect;
pub mod http;
pub mod listener;
pub mod live;
pub mod patience;
pub mod sampler;
pub mod serve;
pub mod source;
pub mod store;
pub mod token;
