use std::process::ExitCode;

use clap::Parser;
use metrics_api::cli::Options;
use metrics_api::serve;
use rustls::crypto::ring;

fn main() -> ExitCode {
    // What reqwest is to use: it brings none of its own. The first to say so is heard.
    let _ = ring::default_provider().install_default();
    match serve::run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("metrics-api: {error}");
            ExitCode::FAILURE
        }
    }
}
