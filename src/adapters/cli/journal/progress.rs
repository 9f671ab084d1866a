//! How far a long command is.

use std::time::Duration;

use tokio::time::Instant;

use super::super::printable::tell;
use crate::app::archive::Tally;

/// How often it is reported.
const EVERY: Duration = Duration::from_secs(2);

/// Reports on standard error how far a command is, every few seconds.
pub(super) struct Progress {
    done: &'static str,
    told: Instant,
}

impl Progress {
    /// Begins. `done` says what is being done, in the past.
    pub(super) fn begin(done: &'static str) -> Self {
        Self { done, told: Instant::now() }
    }

    /// So much has been done.
    pub(super) fn at(&mut self, tally: Tally) {
        if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            self.end(tally);
        }
    }

    /// All has been done.
    pub(super) fn end(&self, tally: Tally) {
        let Tally { topics, entries, messages, message_events, .. } = tally;
        tell(&format!(
            "{} {entries} entries of {topics} topics, {message_events} events of {messages} messages",
            self.done
        ));
    }
}
