//! Worlds by the seed.

use std::{env, ops::Range};

use tokio::runtime::Builder;

use crate::script;

const SEEDS: u64 = 60;

/// Which seeds to run: of the quarter that a test has, unless one is asked for.
fn seeds(quarter: u64) -> Range<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} must be a number")));
    if let Some(seed) = number("REJOIN_SIMULATION_SEED") {
        return if quarter == 0 { seed..seed + 1 } else { 0..0 };
    }
    let each = number("REJOIN_SIMULATION_SEEDS").unwrap_or(SEEDS).div_ceil(4);
    quarter * each..(quarter + 1) * each
}

/// Tells the seed when a world ends by a panic.
struct Telling(u64);

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was REJOIN_SIMULATION_SEED={}", self.0);
        }
    }
}

fn run(quarter: u64) {
    for seed in seeds(quarter) {
        let _telling = Telling(seed);
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(script::run(seed)).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn promises_hold_in_the_first_quarter_of_worlds() {
    run(0);
}

#[test]
fn promises_hold_in_the_second_quarter_of_worlds() {
    run(1);
}

#[test]
fn promises_hold_in_the_third_quarter_of_worlds() {
    run(2);
}

#[test]
fn promises_hold_in_the_fourth_quarter_of_worlds() {
    run(3);
}
