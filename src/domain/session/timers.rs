//! The timers of a session: all of them, in one table.
//!
//! Invariant: a timer that is set stays set until it is set anew or cleared. What else depends on
//! time is the keepalive, which follows the last write.

use std::time::Instant;

/// What happens at a certain time. When several are due, they are handled in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// A journal that failed is read again.
    ReadAgain,
    /// The client's credentials end, and with them the stream, even during a write that stalls.
    TokenExpiry,
    /// The client is asked to come back elsewhere: the process shuts down.
    Drain,
    /// The backend is asked whether the message's producer is alive. It counts only while the
    /// stream follows.
    AskProducer,
}

impl Timer {
    pub(super) const ALL: [Self; 4] =
        [Self::ReadAgain, Self::TokenExpiry, Self::Drain, Self::AskProducer];
}

/// When each is due, if it is set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timers([Option<Instant>; Timer::ALL.len()]);

impl Timers {
    pub(super) const fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }

    pub(super) const fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(super) const fn get(&self, timer: Timer) -> Option<Instant> {
        self.0[timer as usize]
    }

    pub(super) fn is_due(&self, timer: Timer, now: Instant) -> bool {
        self.get(timer).is_some_and(|at| at <= now)
    }
}
