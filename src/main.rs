//! The command line: see [`rejoin::adapters::cli`].

fn main() {}
