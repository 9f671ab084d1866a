//! The pauses between one connection and the next.
//!
//! Invariants: pauses grow while nothing lasts, and differ between processes; a server that accepts
//! and closes at once is not asked again and again without a pause.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    domain::backoff::{Backoff, pause_after},
    ports::entropy::Entropy,
};

/// First and longest pause before a connection is tried again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);

/// The pauses of one purpose.
pub struct Reconnect {
    backoff: Backoff,
    entropy: Arc<dyn Entropy>,
}

impl Reconnect {
    /// Nothing has been tried yet.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { backoff: Backoff::new(PAUSE_FIRST, PAUSE_LONGEST), entropy }
    }

    /// Rests after a connection that was there since then, or could not be made.
    pub async fn pause(&mut self, there_since: Option<Instant>) {
        if there_since.is_some_and(|since| since.elapsed() > PAUSE_LONGEST) {
            self.backoff.reset();
        }
        sleep(self.backoff.pause(self.entropy.next_u64())).await;
    }
}

/// The pause after so many failures in a row, for a driver that connects again by itself.
pub fn delay(failures: usize, random: u64) -> Duration {
    pause_after(u32::try_from(failures).unwrap_or(u32::MAX), PAUSE_FIRST, PAUSE_LONGEST, random)
}
