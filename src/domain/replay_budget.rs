//! How many snapshots a user may ask for: a true sliding window, and continuations that cost
//! nothing.
//!
//! Invariants: at no moment do more than `limit` grants lie within the last `window`, and a refusal
//! leaves no trace: who keeps trying while the window is full is let in exactly when its oldest
//! grant falls out of it. A continuation is used once, and a bounded number of them is kept.

use std::{collections::VecDeque, time::Duration};

use super::{position::Position, timestamp::Timestamp};

/// Most continuations that are allowed a user at once: more than a user's connections could need.
pub const CONTINUATIONS_MAX: usize = 64;

/// One user's grants within the window. Holds at most `limit` times.
#[derive(Clone, Debug, Default)]
pub struct SlidingWindow {
    granted_at: VecDeque<Timestamp>,
}

/// Where a user's snapshots were capped, so that their clients may go on from there without paying.
#[derive(Clone, Debug, Default)]
pub struct Continuations {
    /// Each position, and until when it is good; the oldest first. A position may stand here
    /// several times.
    allowed: VecDeque<(Position, Timestamp)>,
}

impl Continuations {
    /// As they were kept, the oldest first: each position, and until when it is good.
    pub fn of(allowed: impl IntoIterator<Item = (Position, Timestamp)>) -> Self {
        Self { allowed: allowed.into_iter().collect() }
    }

    /// To be kept.
    pub fn allowed(&self) -> impl Iterator<Item = (Position, Timestamp)> {
        self.allowed.iter().copied()
    }

    /// Allows one snapshot after `cursor` until a time.
    pub fn allow(&mut self, cursor: Position, now: Timestamp, until: Timestamp) {
        self.forget_over(now);
        if self.allowed.len() == CONTINUATIONS_MAX {
            self.allowed.pop_front();
        }
        self.allowed.push_back((cursor, until));
    }

    /// Uses one that was allowed after `cursor`. `false` if there is none.
    pub fn take(&mut self, cursor: Position, now: Timestamp) -> bool {
        self.forget_over(now);
        let place = self.allowed.iter().position(|(allowed, _)| *allowed == cursor);
        place.is_some_and(|place| self.allowed.remove(place).is_some())
    }

    /// Whether nothing is left to remember.
    pub fn is_empty_at(&mut self, now: Timestamp) -> bool {
        self.forget_over(now);
        self.allowed.is_empty()
    }

    fn forget_over(&mut self, now: Timestamp) {
        self.allowed.retain(|(_, until)| *until > now);
    }
}

/// The budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// How long until the window frees the next grant; never zero, never longer than the window.
    pub retry_after: Duration,
}

impl SlidingWindow {
    /// As it was kept: when each was granted, the oldest first.
    pub fn of(granted_at: impl IntoIterator<Item = Timestamp>) -> Self {
        Self { granted_at: granted_at.into_iter().collect() }
    }

    /// To be kept.
    pub fn granted_at(&self) -> impl Iterator<Item = Timestamp> {
        self.granted_at.iter().copied()
    }

    /// Takes one grant, and returns how many are left.
    ///
    /// # Errors
    /// [`Exhausted`] when `limit` grants lie within the `window` that ends now.
    pub fn take(&mut self, now: Timestamp, limit: u32, window: Duration) -> Result<u32, Exhausted> {
        self.forget_outside(now, window);
        let used = u32::try_from(self.granted_at.len()).unwrap_or(u32::MAX);
        if used < limit {
            self.granted_at.push_back(now);
            return Ok(limit - used - 1);
        }
        // The grant whose fall from the window brings the number below the limit; the limit may
        // have been lowered.
        let blocking = self.granted_at.get((used - limit) as usize).copied().unwrap_or(now);
        Err(Exhausted {
            retry_after: window.saturating_sub(now.since(blocking)).max(Duration::from_millis(1)),
        })
    }

    /// How many grants are left.
    pub fn left(&mut self, now: Timestamp, limit: u32, window: Duration) -> u32 {
        self.forget_outside(now, window);
        limit.saturating_sub(u32::try_from(self.granted_at.len()).unwrap_or(u32::MAX))
    }

    /// Whether nothing is left to remember.
    pub fn is_empty_at(&mut self, now: Timestamp, window: Duration) -> bool {
        self.forget_outside(now, window);
        self.granted_at.is_empty()
    }

    /// Grants from the future come from a clock that has stepped back since; to keep them would
    /// lock the user out.
    fn forget_outside(&mut self, now: Timestamp, window: Duration) {
        self.granted_at.retain(|at| *at <= now && now.since(*at) < window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::EventId;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_mins(1);

    #[test]
    fn a_refusal_does_not_move_the_window() {
        let mut budget = SlidingWindow::default();
        assert_eq!(budget.take(Timestamp::from_ms(0), 2, WINDOW), Ok(1));
        assert_eq!(budget.take(Timestamp::from_ms(10_000), 2, WINDOW), Ok(0));
        for ms in (20_000..60_000).step_by(500) {
            let refused = budget.take(Timestamp::from_ms(ms), 2, WINDOW);
            assert_eq!(refused, Err(Exhausted { retry_after: Duration::from_millis(60_000 - ms) }));
        }
        assert_eq!(budget.take(Timestamp::from_ms(60_000), 2, WINDOW), Ok(0));
        assert_eq!(
            budget.take(Timestamp::from_ms(60_001), 2, WINDOW),
            Err(Exhausted { retry_after: Duration::from_millis(9_999) })
        );
    }

    fn at(ms: u64) -> Position {
        Position::After(EventId::timed(ms, 1))
    }

    #[test]
    fn a_continuation_is_used_once_from_its_own_position_and_in_time() {
        let mut continuations = Continuations::default();
        continuations.allow(at(5), Timestamp::from_ms(0), Timestamp::from_ms(100));
        continuations.allow(at(5), Timestamp::from_ms(0), Timestamp::from_ms(100));
        assert!(!continuations.take(at(6), Timestamp::from_ms(1)));
        assert!(
            continuations.take(at(5), Timestamp::from_ms(1))
                && continuations.take(at(5), Timestamp::from_ms(99))
        );
        assert!(!continuations.take(at(5), Timestamp::from_ms(99)), "each is used once");
        continuations.allow(at(7), Timestamp::from_ms(0), Timestamp::from_ms(100));
        assert!(
            !continuations.take(at(7), Timestamp::from_ms(100))
                && continuations.is_empty_at(Timestamp::from_ms(100))
        );
    }

    #[test]
    fn promise_7_a_bounded_number_of_continuations_is_kept() {
        let (mut continuations, now, until) =
            (Continuations::default(), Timestamp::from_ms(0), Timestamp::from_ms(100));
        for n in 0..=CONTINUATIONS_MAX as u64 {
            continuations.allow(at(n), now, until);
        }
        assert!(!continuations.take(at(0), now), "the oldest gave way");
        assert!((1..=CONTINUATIONS_MAX as u64).all(|n| continuations.take(at(n), now)));
    }

    #[test]
    fn a_clock_that_steps_back_locks_nobody_out() {
        let mut budget = SlidingWindow::default();
        assert_eq!(budget.take(Timestamp::from_ms(1_000_000), 1, WINDOW), Ok(0));
        assert_eq!(budget.take(Timestamp::from_ms(500), 1, WINDOW), Ok(0));
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_in_any_window_and_never_refused_without_need(
            steps in proptest::collection::vec(0_u64..40, 1..200), limit in 1_u32..6, window_ms in 1_u64..100,
        ) {
            let window = Duration::from_millis(window_ms);
            let (mut budget, mut now, mut granted) = (SlidingWindow::default(), 0, Vec::new());
            for step in steps {
                now += step;
                let recent = granted.iter().filter(|at| now - **at < window_ms).count();
                match budget.take(Timestamp::from_ms(now), limit, window) {
                    Ok(left) => {
                        granted.push(now);
                        prop_assert_eq!(recent + 1 + left as usize, limit as usize);
                    }
                    Err(Exhausted { retry_after }) => {
                        prop_assert_eq!(recent, limit as usize);
                        let later = Timestamp::from_ms(now + u64::try_from(retry_after.as_millis()).unwrap());
                        prop_assert!(budget.clone().take(later, limit, window).is_ok());
                        let sooner = Timestamp::from_ms(later.as_ms() - 1);
                        prop_assert!(budget.clone().take(sooner, limit, window).is_err() || sooner.as_ms() < now);
                    }
                }
            }
        }
    }
}
