//! The time of day.
//!
//! Deadlines and pauses don't come from here: they use the runtime's monotonic clock, which tests
//! can drive.

use crate::domain::timestamp::Timestamp;

/// Tells the time of day. It may step back; what must not is the business of who depends on it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}
