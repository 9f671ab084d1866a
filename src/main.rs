//! The `rejoin` program: see [`rejoin::adapters::cli`].

use std::process::ExitCode;

use clap::Parser;
use rejoin::adapters::cli::CommandLine;

#[tokio::main]
async fn main() -> ExitCode {
    CommandLine::parse().run().await
}
