//! What a process remembers of where subjects end, so that most writes need no read before.
//!
//! Invariants: a process writes to a subject by one task at a time; what is remembered is never trusted more than a write does that
//! names the sequence it expects; a bounded number is remembered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::OwnedMutexGuard;

use super::connection::lock;

/// What is remembered of subjects.
pub(super) struct Ends<T> {
    max: usize,
    remembered: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<T>>>>>,
}

impl<T> Ends<T> {
    /// Remembers at most so many. With more, those are forgotten that nobody writes to at this moment.
    pub(super) fn at_most(max: usize) -> Self {
        Self { max, remembered: Mutex::default() }
    }

    /// What is remembered of a subject, for whoever writes to it alone from now on.
    pub(super) async fn of(&self, subject: &str) -> OwnedMutexGuard<Option<T>> {
        let end = {
            let mut remembered = lock(&self.remembered);
            if remembered.len() >= self.max {
                remembered.retain(|_, end| Arc::strong_count(end) > 1);
            }
            Arc::clone(remembered.entry(subject.to_owned()).or_default())
        };
        end.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn promise_7_a_bounded_number_is_remembered_and_none_that_is_written_to_is_forgotten() {
        const REMEMBERED_MAX: usize = 100;
        let ends = Ends::at_most(REMEMBERED_MAX);
        let held = ends.of("held").await;
        for n in 0..REMEMBERED_MAX + 10 {
            *ends.of(&n.to_string()).await = Some(n);
        }
        assert!(lock(&ends.remembered).len() <= REMEMBERED_MAX);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), ends.of("held")).await.is_err(), "it is still held");
        drop(held);
        assert_eq!(*ends.of("held").await, None);
    }
}
