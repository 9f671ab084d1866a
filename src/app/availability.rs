//! Whether a backend answers, as far as this process has seen.
//!
//! Invariant: a change of state is logged once, however many requests meet it; each failure is
//! counted. One damaged topic, a broadcast too many, or a call that it rejects for good, says
//! nothing about the backend; a damaged topic is logged once by itself, and of rejected calls the
//! first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::signals::{BackendCalls, Call, Signals};
use crate::ports::backend_error::{BackendError, BackendErrorKind};

/// The observed state of one backend.
pub struct Availability {
    name: &'static str,
    up: AtomicBool,
    /// Whether a rejected call has been logged.
    has_rejected: AtomicBool,
    calls: BackendCalls,
    signals: Arc<Signals>,
}

impl Availability {
    /// Supposed to be up until something shows otherwise. `name` says in log and metrics what it is
    /// used for.
    pub fn new(name: &'static str, signals: Arc<Signals>) -> Self {
        signals.backend_is(name, true);
        let calls = signals.backend_calls(name);
        Self {
            name,
            up: AtomicBool::new(true),
            has_rejected: AtomicBool::new(false),
            calls,
            signals,
        }
    }

    /// What it is used for.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it answered when it was last asked.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// A call has ended, whatever its result.
    pub fn took(&self, call: Call, time: Duration) {
        self.calls.took(call, time);
    }

    /// Learns from a result, and passes it on.
    ///
    /// # Errors
    /// The result's own.
    pub fn observe<T>(&self, result: Result<T, BackendError>) -> Result<T, BackendError> {
        match &result {
            Ok(_) => self.answered(),
            Err(error) if says_nothing_of_backend(error.kind) => {
                self.answered();
                self.signals.backend_failed(self.name, error);
                self.signals.topic_is_damaged(error);
                if error.kind == BackendErrorKind::Rejected
                    && !self.has_rejected.swap(true, Ordering::Relaxed)
                {
                    let source = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
                    tracing::error!(backend = self.name, %error, source, "a call failed by a fault of this program: please report it");
                }
            }
            Err(error) => {
                self.signals.backend_failed(self.name, error);
                if self.up.swap(false, Ordering::Relaxed) {
                    self.signals.backend_is(self.name, false);
                    let source = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(backend = self.name, %error, source, "backend unreachable");
                }
            }
        }
        result
    }

    fn answered(&self) {
        if !self.up.swap(true, Ordering::Relaxed) {
            self.signals.backend_is(self.name, true);
            tracing::info!(backend = self.name, "backend reachable again");
        }
    }
}

/// Whether the backend works, though it did not do this.
const fn says_nothing_of_backend(kind: BackendErrorKind) -> bool {
    use BackendErrorKind::{BroadcastsFull, Damaged, Rejected, TooLarge};
    matches!(kind, Damaged | BroadcastsFull | TooLarge | Rejected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topic::{Topic, UserId};

    #[test]
    fn a_result_passes_through_and_sets_the_state() {
        let availability = Availability::new("journal", Signals::unheard_in_tests());
        assert!(
            availability
                .observe::<()>(Err(BackendError::new(BackendErrorKind::Unavailable, "test")))
                .is_err()
        );
        assert!(!availability.up.load(Ordering::Relaxed));
        assert_eq!(availability.observe(Ok(7)).unwrap(), 7);
        assert!(availability.up.load(Ordering::Relaxed));
    }

    #[test]
    fn a_damaged_topic_says_nothing_about_the_backend() {
        let availability = Availability::new("journal", Signals::unheard_in_tests());
        let topic = Topic::User(UserId::parse("u").unwrap());
        let damaged = BackendError::damaged("test", topic, "a key of another type");
        assert_eq!(
            availability.observe::<()>(Err(damaged)).unwrap_err().kind,
            BackendErrorKind::Damaged
        );
        assert!(availability.is_up());
    }
}
