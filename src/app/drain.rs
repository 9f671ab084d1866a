//! How the clients of a process that stops leave: when each is asked to, and when it comes back.
//!
//! Invariant: those who leave together do not come back together.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{backoff::share_of, timestamp::millis};

/// The part of a drain within which clients are asked to leave. The last of them needs a moment to
/// do so.
const ASKED_WITHIN: f64 = 0.8;

/// When and how the streams of a draining process end.
#[derive(Clone, Copy, Debug)]
pub struct DrainPlan {
    started: Instant,
    spread: Duration,
}

impl DrainPlan {
    /// A drain that begins now and has to be over after `limit`.
    pub fn begin(limit: Duration) -> Self {
        Self { started: Instant::now(), spread: limit.mul_f64(ASKED_WITHIN) }
    }

    /// When a client is asked to leave. `jitter` is its own, at random.
    pub(super) fn leaves_at(&self, jitter: u64) -> Instant {
        self.started + share_of(self.spread, jitter)
    }
}

/// How long a client waits before it comes back: between half and one and a half times the usual.
pub(super) fn retry_ms(usual_ms: u64, jitter: u64) -> u64 {
    usual_ms / 2 + millis(share_of(Duration::from_millis(usual_ms), jitter))
}
