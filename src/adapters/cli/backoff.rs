//! How long to wait before the server is asked again.
//!
//! Invariant: a delay that the server asked for is never cut short, and no two clients that were cut off together come
//! back together.

use std::time::Duration;

/// First and longest pause while the server can't be reached.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// What a server may ask for. Less would be a busy loop, and more is a mistake.
const ASKED_MIN: Duration = Duration::from_millis(100);
const ASKED_MAX: Duration = Duration::from_hours(1);

/// Pauses that double with each failure.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure: of what the doubling allows, a random part of at least a half.
    pub(super) fn next(&mut self) -> Duration {
        let ceiling = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        ceiling / 2 + (ceiling / 2).mul_f64(rand::random())
    }

    /// The server could be reached.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A delay that the server asked for, within reason, and up to an eighth more, so that not all come at once.
pub(super) fn as_asked(delay: Duration) -> Duration {
    let delay = delay.clamp(ASKED_MIN, ASKED_MAX);
    delay + (delay / 8).mul_f64(rand::random())
}

/// A delay for people: `0.5 s`.
pub(super) fn shown(delay: Duration) -> String {
    format!("{:.1} s", delay.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::default();
        for ceiling_ms in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let ceiling = Duration::from_millis(ceiling_ms);
            let pause = backoff.next();
            assert!((ceiling / 2..=ceiling).contains(&pause), "{pause:?} of {ceiling:?}");
        }
        backoff.failures = u32::MAX;
        assert!(backoff.next() <= LONGEST);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }

    #[test]
    fn what_the_server_asks_for_is_a_minimum_within_reason() {
        for (asked, least) in [(0, 100), (3000, 3000), (u64::MAX, 3_600_000)] {
            let least = Duration::from_millis(least);
            let delay = as_asked(Duration::from_millis(asked));
            assert!((least..=least + least / 8).contains(&delay), "{delay:?} for {asked} ms");
        }
    }
}
