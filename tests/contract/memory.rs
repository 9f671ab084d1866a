//! The backend in memory, under a clock that the laws move.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rejoin::{
    adapters::memory::{MemoryFeed, MemoryJournal, MemoryLimits, MemoryOptions},
    domain::timestamp::Timestamp,
    ports::clock::Clock,
};

use crate::backend::{Backend, Fixture, Options, Process};

/// More than any law appends.
const BYTES_MAX: usize = 256 * 1024 * 1024;
const EPOCH_MS: u64 = 1_718_900_000_000;

pub(crate) struct MemoryFixture;

struct Memory {
    clock: Arc<ManualClock>,
    options: MemoryOptions,
    journal: Mutex<Arc<MemoryJournal>>,
    limits: Arc<MemoryLimits>,
}

struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl Fixture for MemoryFixture {
    async fn open(&self, options: Options) -> Box<dyn Backend> {
        let clock = Arc::new(ManualClock(AtomicU64::new(EPOCH_MS)));
        let options = MemoryOptions {
            topic_entries_max: options.topic_entries_max,
            age_max: options.age_max,
            idempotency_window: options.idempotency_window,
            bytes_max: BYTES_MAX,
        };
        let journal = Mutex::new(Arc::new(MemoryJournal::new(options.clone(), Arc::clone(&clock) as _)));
        let limits = Arc::new(MemoryLimits::new(Arc::clone(&clock) as _));
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
        Process {
            feed: Arc::new(MemoryFeed::new(Arc::clone(&journal))),
            messages: Arc::clone(&journal) as _,
            journal,
            leases: Arc::clone(&self.limits) as _,
            budget: Arc::clone(&self.limits) as _,
        }
    }

    async fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    async fn step_clock_back(&self, by: Duration) {
        self.clock.0.fetch_sub(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    async fn wipe(&self) {
        // No process comes back within the millisecond.
        self.pass(Duration::from_millis(1)).await;
        *self.journal.lock().unwrap() = Arc::new(MemoryJournal::new(self.options.clone(), Arc::clone(&self.clock) as _));
    }
}
