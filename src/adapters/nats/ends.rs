//! What a process remembers of where subjects end, so that most writes need no read before.
//!
//! Invariants: a process writes to a subject by one task at a time; what is remembered is never
//! trusted more than a write does that names the sequence it expects; a bounded number is
//! remembered; a process that writes to a subject again and again leaves room for others. It would
//! keep them out otherwise: it knows where the subject ends, and they have to look first.

use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep_until},
};

use super::connection::lock;

/// After so many writes in a row a process rests, for about as long as others need for a look and a
/// write.
const WRITES_IN_A_ROW: u32 = 16;
/// After so many, where it met others.
const WRITES_IN_A_ROW_AMONG_OTHERS: u32 = 3;
const REST_FACTOR: u32 = 2;
const REST_MAX: Duration = Duration::from_millis(20);

/// What is remembered of subjects.
pub(super) struct Ends<T> {
    max: usize,
    remembered: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Remembered<T>>>>>,
}

struct Remembered<T> {
    end: Option<T>,
    /// Writes since others last had room for one.
    writes_in_a_row: u32,
    /// When others have had room since the last write.
    rests_until: Option<Instant>,
}

/// A subject's end, for whoever writes to it alone.
pub(super) struct HeldEnd<T>(OwnedMutexGuard<Remembered<T>>);

impl<T> Ends<T> {
    /// Remembers at most so many. With more, those are forgotten that nobody writes to at this
    /// moment.
    pub(super) fn at_most(max: usize) -> Self {
        Self { max, remembered: Mutex::default() }
    }

    /// What is remembered of a subject, for whoever writes to it alone from now on.
    pub(super) async fn of(&self, subject: &str) -> HeldEnd<T> {
        let end = {
            let mut remembered = lock(&self.remembered);
            if remembered.len() >= self.max {
                remembered.retain(|_, end| Arc::strong_count(end) > 1);
            }
            let nothing = || Remembered { end: None, writes_in_a_row: 0, rests_until: None };
            Arc::clone(
                remembered
                    .entry(subject.to_owned())
                    .or_insert_with(|| Arc::new(tokio::sync::Mutex::new(nothing()))),
            )
        };
        let mut end = end.lock_owned().await;
        if let Some(until) = end.rests_until {
            if end.writes_in_a_row >= WRITES_IN_A_ROW {
                sleep_until(until).await;
            }
            if until <= Instant::now() {
                end.writes_in_a_row = 0;
            }
        }
        HeldEnd(end)
    }
}

impl<T> HeldEnd<T> {
    /// Something was written, which took so long. `met_others` if another process was faster
    /// before.
    pub(super) fn wrote(&mut self, took: Duration, met_others: bool) {
        self.0.writes_in_a_row = if met_others {
            WRITES_IN_A_ROW - WRITES_IN_A_ROW_AMONG_OTHERS
        } else {
            self.0.writes_in_a_row
        } + 1;
        self.0.rests_until = Some(Instant::now() + (took * REST_FACTOR).min(REST_MAX));
    }
}

impl<T> Deref for HeldEnd<T> {
    type Target = Option<T>;

    fn deref(&self) -> &Option<T> {
        &self.0.end
    }
}

impl<T> DerefMut for HeldEnd<T> {
    fn deref_mut(&mut self) -> &mut Option<T> {
        &mut self.0.end
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
        assert!(
            tokio::time::timeout(Duration::from_millis(1), ends.of("held")).await.is_err(),
            "it is still held"
        );
        drop(held);
        assert_eq!(*ends.of("held").await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_writes_again_and_again_leaves_room_for_others() {
        const TOOK: Duration = Duration::from_millis(2);
        let ends = Ends::<()>::at_most(10);
        let began = Instant::now();
        for _ in 0..WRITES_IN_A_ROW {
            ends.of("hot").await.wrote(TOOK, false);
        }
        assert_eq!(
            began.elapsed(),
            Duration::ZERO,
            "nobody waits for the rest but who comes behind it"
        );
        ends.of("hot").await.wrote(TOOK, true);
        assert!(began.elapsed() >= TOOK * REST_FACTOR);
        let met = Instant::now();
        for _ in 1..WRITES_IN_A_ROW_AMONG_OTHERS {
            ends.of("hot").await.wrote(TOOK, false);
        }
        drop(ends.of("hot").await);
        assert!(met.elapsed() >= TOOK * REST_FACTOR, "soon, where others are known to write");
        drop(ends.of("hot").await);
        assert!(met.elapsed() < TOOK * REST_FACTOR * 2, "once");
        for _ in 0..WRITES_IN_A_ROW * 2 {
            tokio::time::advance(TOOK * REST_FACTOR).await;
            let came = Instant::now();
            ends.of("hot").await.wrote(TOOK, false);
            assert_eq!(came.elapsed(), Duration::ZERO, "there was room before each of these");
        }
    }
}
