//! A clock that stands still until a test moves it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{domain::timestamp::Timestamp, ports::clock::Clock};

/// The time of day as a test sets it.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `ms` milliseconds since the Unix epoch.
    pub const fn at_ms(ms: u64) -> Self {
        Self(AtomicU64::new(ms))
    }

    /// Sets the time, also to an earlier one.
    pub fn set_ms(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::Relaxed))
    }
}
