//! The machine's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    domain::timestamp::{Timestamp, millis},
    ports::clock::Clock,
};

/// Returns the machine's time of day.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_ms(millis(since_epoch))
    }
}
