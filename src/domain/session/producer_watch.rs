//! How a stream notices that its message's producer is silent.
//!
//! Invariant: the backend is not asked while the producer can't yet have been silent for too long:
//! a stream asks once in that time at the most, unless the answer failed to come.

use std::time::{Duration, Instant};

use crate::domain::{
    message::Observed,
    position::{EventId, Position},
};

/// When to ask again where the backend did not answer, or the stream lacks what it has.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Watches the producer of a session's message.
#[derive(Debug)]
pub(super) struct ProducerWatch {
    idle: Duration,
    /// The time has come, and the backend has not been asked yet.
    pub(super) due: bool,
}

/// What the backend said of a message.
#[derive(Clone, Debug)]
pub enum ProducerSign {
    /// It is there.
    Observed(Observed),
    /// It is not there any more.
    Gone,
    /// Nothing: it did not answer.
    Unknown,
}

/// What follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The stream goes on.
    Alive,
    /// The message has more than the stream has seen.
    Behind,
    /// The producer has been silent for too long.
    Silent,
    /// There is no message any more.
    Gone,
}

impl ProducerWatch {
    /// A watch on a producer that may be silent for `idle`.
    pub(super) const fn new(idle: Duration) -> Self {
        Self { idle, due: false }
    }

    /// When to ask about a producer that gave its last sign of life `silent_for` ago.
    pub(super) fn ask_at(&self, silent_for: Duration, now: Instant) -> Instant {
        now + self.idle.saturating_sub(silent_for)
    }

    /// What the answer means for a stream that has all up to `position`, and when to ask again.
    pub(super) fn handle_sign(
        &mut self,
        sign: &ProducerSign,
        position: Position,
        now: Instant,
    ) -> (Finding, Instant) {
        self.due = false;
        let soon = now + ASK_AGAIN_AFTER;
        let observed = match sign {
            ProducerSign::Gone => return (Finding::Gone, soon),
            ProducerSign::Unknown => return (Finding::Alive, soon),
            ProducerSign::Observed(observed) => observed,
        };
        let last = observed.message.last_sequence_no().map(EventId::sequence);
        if last.is_some_and(|last| position.is_before(last)) {
            return (Finding::Behind, soon);
        }
        if observed.silent_for >= self.idle {
            return (Finding::Silent, soon);
        }
        (Finding::Alive, self.ask_at(observed.silent_for, now))
    }
}
