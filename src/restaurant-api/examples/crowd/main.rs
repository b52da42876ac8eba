//! A crowd of SSE clients on one thread, to see what the server can carry: how many events each
//! client gets, whether one is missing, and how old they are when they arrive.
//!
//! ```text
//! cargo run --release -p restaurant-api --example crowd -- 127.0.0.1:8000 --clients 1000
//! ```
//!
//! It is not a conforming parser: it knows the wire of this server and nothing else, because what
//! it costs is taken from the machine that it measures.

mod client;
mod plan;
mod report;
mod scanner;

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    plan: plan::Plan,
    /// One JSON object in place of words.
    #[arg(long)]
    json: bool,
    /// Variable of the environment that holds the bearer token.
    #[arg(long, default_value = "RESTAURANT_API_TOKEN")]
    token_variable: String,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let token = std::env::var(&options.token_variable).ok();
    match options.plan.run(token.as_deref()) {
        Ok(report) => {
            println!("{}", if options.json { report.json() } else { report.to_string() });
            if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("crowd: {error}");
            ExitCode::FAILURE
        }
    }
}
