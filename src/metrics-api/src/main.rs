use std::process::ExitCode;

use clap::Parser;
use metrics_api::cli::Options;
use metrics_api::serve;

fn main() -> ExitCode {
    match serve::run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("metrics-api: {error}");
            ExitCode::FAILURE
        }
    }
}
