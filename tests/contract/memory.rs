//! The backend in memory, under a clock that the laws move.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use rejoin::{
    adapters::{
        backend_kit::{Ports, feed::local::LocalFeed, limits::LocalLimits},
        memory::{MemoryJournal, MemoryOptions},
    },
    domain::topic::MessageId,
    ports::clock::Clock,
    testing::ManualClock,
};

use crate::contract::backend::{Backend, Fixture, Options, Process};

const EPOCH_MS: u64 = 1_718_900_000_000;

pub(crate) struct MemoryFixture;

struct Memory {
    clock: Arc<ManualClock>,
    options: MemoryOptions,
    journal: Mutex<Arc<MemoryJournal>>,
    limits: Arc<LocalLimits>,
}

#[async_trait]
impl Fixture for MemoryFixture {
    async fn open(&self, options: Options) -> Box<dyn Backend> {
        let clock = Arc::new(ManualClock::at_ms(EPOCH_MS));
        let options = MemoryOptions {
            stream_maxlen: options.stream_maxlen,
            replay_max_age: options.replay_max_age,
            idempotency_window: options.idempotency_window,
            max_bytes: options.bytes_max,
        };
        let journal =
            Mutex::new(Arc::new(MemoryJournal::new(options.clone(), Arc::clone(&clock) as _)));
        let limits = Arc::new(LocalLimits::new(Arc::clone(&clock) as _));
        Box::new(Memory { clock, options, journal, limits })
    }

    fn property_cases(&self) -> u32 {
        300
    }

    fn time_tolerance(&self) -> Duration {
        Duration::ZERO
    }
}

#[async_trait]
impl Backend for Memory {
    async fn process(&self) -> Process {
        let journal = Arc::clone(&self.journal.lock().unwrap());
        Process::of(Ports {
            feed: Arc::new(LocalFeed::new(journal.listeners())),
            messages: Arc::clone(&journal) as _,
            archive: Arc::clone(&journal) as _,
            journal,
            leases: Arc::clone(&self.limits) as _,
            budget: Arc::clone(&self.limits) as _,
            sweeper: None,
        })
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn step_clock_back(&self, by: Duration) {
        self.clock.set_ms(self.clock.now().minus(by).as_ms());
    }

    async fn set_clock_ms(&self, now_ms: u64) {
        self.clock.set_ms(now_ms);
    }

    /// Time never goes back here.
    fn follows_steps_back(&self) -> bool {
        false
    }

    /// Its bytes are what bounds it.
    async fn fill_message(&self, _: &MessageId, _: u64) {}

    async fn wipe(&self) {
        // No process comes back within the millisecond.
        self.pass(Duration::from_millis(1)).await;
        *self.journal.lock().unwrap() =
            Arc::new(MemoryJournal::new(self.options.clone(), Arc::clone(&self.clock) as _));
    }
}
