//! When a caller's credentials end, by the clock that timers run on.

use std::time::{Duration, Instant};

use crate::{domain::access::Principal, ports::clock::Clock};

/// The moment from which the principal's credentials would be refused; `None` for never.
pub(super) fn expiry(principal: &Principal, clock: &dyn Clock) -> Option<Instant> {
    /// Far enough away, and safe to add to any instant.
    const LONGEST: Duration = Duration::from_hours(24 * 365);
    let left = |end_ms: u64| Duration::from_millis(end_ms.saturating_sub(clock.now().as_ms()));
    principal
        .expires_at
        .map(|at| tokio::time::Instant::now().into_std() + LONGEST.min(left(at.as_ms())))
}
