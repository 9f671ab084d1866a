//! Pauses between tries: each longer than the one before, and spread by jitter.
//!
//! Invariant: those that fail together do not try again together. Randomness comes in as an
//! argument.

use std::time::Duration;

/// The pauses between the tries of one thing.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses that begin at `first`, and double up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The pause before the next try, after one that failed: between half of its full length and
    /// all of it, as `random` has it.
    pub fn pause(&mut self, random: u64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        pause_after(self.failures, self.first, self.longest, random)
    }

    /// A try succeeded: the next pause is the first again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The pause after so many failures in a row, as [`Backoff::pause`] has it, for whoever keeps their
/// number alone.
pub fn pause_after(failures: u32, first: Duration, longest: Duration, random: u64) -> Duration {
    let full = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    jittered(full.min(longest), random)
}

/// Between half of `full` and all of it, evenly spread.
pub fn jittered(full: Duration, random: u64) -> Duration {
    full / 2 + share_of(full / 2, random)
}

/// A share of `full`, from nothing to all of it, evenly spread.
pub fn share_of(full: Duration, random: u64) -> Duration {
    // Half of the bits are fine enough, and leave room for the longest duration.
    Duration::from_nanos_u128((full.as_nanos() * u128::from(random >> 32)) >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let pauses = |backoff: &mut Backoff| [0; 4].map(|_| backoff.pause(0).as_millis());
        assert_eq!(pauses(&mut backoff), [50, 100, 175, 175]);
        backoff.reset();
        assert_eq!(pauses(&mut backoff), [50, 100, 175, 175]);
    }

    proptest! {
        #[test]
        fn a_pause_is_between_half_and_all_of_its_length(full_ms: u64, random: u64) {
            let full = Duration::from_millis(full_ms);
            let pause = jittered(full, random);
            prop_assert!(full / 2 <= pause && pause <= full);
        }
    }
}
