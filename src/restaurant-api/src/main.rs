use std::process::ExitCode;

use clap::Parser;
use restaurant_api::cli::{Cli, Command};
use restaurant_api::{fill, generate, serve};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(options) => serve::run(*options),
        Command::Fill(options) => fill::run(&options),
        Command::Generate(options) => generate::run(&options).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("restaurant-api: {error}");
            ExitCode::FAILURE
        }
    }
}
