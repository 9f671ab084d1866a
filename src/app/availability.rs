//! Whether a backend answers, as far as this process has seen.
//!
//! Invariant: a change of state is logged once, however many requests meet it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::ports::backend_error::BackendError;

/// The observed state of one backend.
#[derive(Debug)]
pub struct Availability {
    name: &'static str,
    up: AtomicBool,
}

impl Availability {
    /// Supposed to be up until something shows otherwise. `name` says in the log what it is used for.
    pub const fn new(name: &'static str) -> Self {
        Self { name, up: AtomicBool::new(true) }
    }

    /// Learns from a result, and passes it on.
    ///
    /// # Errors
    /// The result's own.
    pub fn observe<T>(&self, result: Result<T, BackendError>) -> Result<T, BackendError> {
        match &result {
            Ok(_) => {
                if !self.up.swap(true, Ordering::Relaxed) {
                    tracing::info!(backend = self.name, "backend is back");
                }
            }
            Err(error) => {
                if self.up.swap(false, Ordering::Relaxed) {
                    let source = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(backend = self.name, %error, source, "backend is away");
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::backend_error::BackendErrorKind;

    #[test]
    fn a_result_passes_through_and_sets_the_state() {
        let availability = Availability::new("journal");
        assert!(availability.observe::<()>(Err(BackendError::new(BackendErrorKind::Unavailable, "test"))).is_err());
        assert!(!availability.up.load(Ordering::Relaxed));
        assert_eq!(availability.observe(Ok(7)).unwrap(), 7);
        assert!(availability.up.load(Ordering::Relaxed));
    }
}
