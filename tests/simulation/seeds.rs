//! Worlds by the seed.

use std::{env, ops::Range};

use tokio::runtime::{Builder, Runtime};

use crate::script;

const SEEDS: u64 = 60;
/// How many are run twice, to be compared.
const TWICE: u64 = 100;

/// Which seeds to run: of the quarter that a test has, unless one is asked for.
fn seeds(quarter: u64) -> Range<u64> {
    let number = |name| {
        env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} must be a number")))
    };
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
        runtime().block_on(script::run(seed)).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// One thread, and a clock that only moves when everything waits.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..TWICE {
        let _telling = Telling(seed);
        let run = || {
            runtime()
                .block_on(script::run_with_history(seed, true))
                .unwrap_or_else(|failure| panic!("{failure}"))
        };
        let (first, second) = (run(), run());
        assert!(first.len() > 100, "{} lines are no history", first.len());
        let parting = first.iter().zip(&second).position(|(first, second)| first != second);
        if let Some(at) = parting {
            panic!("the runs part at line {at}:\n{}\n{}", first[at], second[at]);
        }
        assert_eq!(first.len(), second.len());
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
