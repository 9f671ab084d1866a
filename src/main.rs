//! The `rejoin` program: see [`rejoin::adapters::cli`].

use std::process::ExitCode;

use clap::Parser;
use rejoin::adapters::cli::CommandLine;

/// Thousands of connections come and go, each with buffers that live for a moment beside state that
/// stays. An allocator that keeps sizes apart holds an idle connection to a tenth of what the
/// system's does (`docs/decisions/`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    CommandLine::parse().run().await
}
