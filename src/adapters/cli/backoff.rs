//! How long to wait before the server is asked again.
//!
//! Invariant: a delay that the server asked for is never cut short, and no two clients that were
//! cut off together come back together.

use std::time::Duration;

use crate::{
    adapters::system_entropy::SystemEntropy,
    domain::backoff::{Backoff, share_of},
    ports::entropy::Entropy,
};

/// First and longest pause while the server can't be reached.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// What a server may ask for. Less would be a busy loop, and more is a mistake.
const ASKED_MIN: Duration = Duration::from_millis(100);
const ASKED_MAX: Duration = Duration::from_hours(1);

/// Pauses that double with each failure, each of them at random between half of its length and all
/// of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses(Backoff);

impl Default for Pauses {
    fn default() -> Self {
        Self(Backoff::new(FIRST, LONGEST))
    }
}

impl Pauses {
    /// The pause after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        self.0.pause(SystemEntropy.next_u64())
    }

    /// The server could be reached.
    pub(super) const fn reset(&mut self) {
        self.0.reset();
    }
}

/// A delay that the server asked for, within reason, and up to an eighth more, so that not all come
/// at once.
pub(super) fn as_asked(delay: Duration) -> Duration {
    let delay = delay.clamp(ASKED_MIN, ASKED_MAX);
    delay + share_of(delay / 8, SystemEntropy.next_u64())
}

/// A delay for people: `0.5 s`.
pub(super) fn shown(delay: Duration) -> String {
    format!("{:.1} s", delay.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_asks_for_is_a_minimum_within_reason() {
        for (asked, least) in [(0, 100), (3000, 3000), (u64::MAX, 3_600_000)] {
            let least = Duration::from_millis(least);
            let delay = as_asked(Duration::from_millis(asked));
            assert!((least..=least + least / 8).contains(&delay), "{delay:?} for {asked} ms");
        }
    }
}
