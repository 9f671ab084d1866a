//! The time of day.
//!
//! Deadlines and pauses don't come from here: they use the runtime's monotonic clock, which tests
//! can drive.

use crate::domain::timestamp::Timestamp;

/// Returns the time of day. It may step back; a caller for whom it must not takes care of that.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}
