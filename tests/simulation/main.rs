//! A simulated world: several processes over one journal, clients that are cut, slow and stalled,
//! backends that fail.
//!
//! Everything between journal and socket is the real thing: the hub, the subscriptions, the
//! streaming driver, the journal in memory. Time is the runtime's paused clock, so hours pass in
//! moments. A run has two phases, faults and calm; then a [`checker`] that knows nothing of the
//! code judges what each client saw, and each must have come to the head.
//!
//! One seed is one run: time, randomness and the order of tasks follow from it, so a seed that
//! failed fails again in the same way. `seeds::one_seed_is_one_run` compares whole histories of two
//! runs.
//!
//! - `REJOIN_SIMULATION_SEED=17`: this seed alone.
//! - `REJOIN_SIMULATION_SEEDS=1000`: so many seeds.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

#[cfg(test)]
mod backend;
#[cfg(test)]
mod checker;
#[cfg(test)]
mod client;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod comings;
#[cfg(test)]
mod dice;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod history;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod process;
#[cfg(test)]
mod producer;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod script;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod storms;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;
