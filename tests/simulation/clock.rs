//! The time of day: it runs with the runtime's clock, and can be set.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rejoin::{domain::timestamp::Timestamp, ports::clock::Clock};
use tokio::time::Instant;

const EPOCH_MS: u64 = 1_718_900_000_000;

pub(crate) struct SimulatedClock {
    started: Instant,
    /// What the clock showed at the start, by what it was set to since.
    at_start_ms: AtomicU64,
    latest_ms: AtomicU64,
}

impl SimulatedClock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            at_start_ms: AtomicU64::new(EPOCH_MS),
            latest_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn step_back(&self, by: Duration) {
        self.at_start_ms.fetch_sub(ms(by), Ordering::Relaxed);
    }

    pub(crate) fn step_forward(&self, by: Duration) {
        self.at_start_ms.fetch_add(ms(by), Ordering::Relaxed);
    }

    /// Makes sure that the clock shows a time that it never showed before.
    pub(crate) fn pass_latest(&self) {
        let behind_ms =
            (self.latest_ms.load(Ordering::Relaxed) + 1).saturating_sub(self.now().as_ms());
        self.step_forward(Duration::from_millis(behind_ms));
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let now_ms = self.at_start_ms.load(Ordering::Relaxed) + ms(self.started.elapsed());
        self.latest_ms.fetch_max(now_ms, Ordering::Relaxed);
        Timestamp::from_ms(now_ms)
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
