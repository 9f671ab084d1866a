//! How a stream notices that its message's producer is silent.
//!
//! Invariant: nobody is asked while the producer can't yet have been silent for too long: a stream asks once in that time
//! at the most, unless the answer failed to come.

use std::time::{Duration, Instant};

use crate::domain::{
    message::Observed,
    position::{EventId, Position},
    topic::MessageId,
};

/// When to ask again where the backend did not answer, or the stream lacks what it has.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Watches one message's producer.
#[derive(Debug)]
pub(super) struct ProducerWatch {
    pub(super) message: MessageId,
    idle: Duration,
    pub(super) ask_at: Instant,
    /// The time has come, and nobody has been asked yet.
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
    /// A watch on a producer that gave its last sign of life `silent_for` ago, and may be silent for `idle`.
    pub(super) fn new(message: MessageId, idle: Duration, silent_for: Duration, now: Instant) -> Self {
        Self { message, idle, ask_at: now + idle.saturating_sub(silent_for), due: false }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.due = self.due || self.ask_at <= now;
    }

    pub(super) fn handle_sign(&mut self, sign: &ProducerSign, position: Position, now: Instant) -> Finding {
        self.due = false;
        self.ask_at = now + ASK_AGAIN_AFTER;
        let observed = match sign {
            ProducerSign::Gone => return Finding::Gone,
            ProducerSign::Unknown => return Finding::Alive,
            ProducerSign::Observed(observed) => observed,
        };
        let last = observed.message.last_sequence_no().map(EventId::sequence);
        if last.is_some_and(|last| position.is_before(last)) {
            return Finding::Behind;
        }
        if observed.silent_for >= self.idle {
            return Finding::Silent;
        }
        self.ask_at = now + self.idle.saturating_sub(observed.silent_for);
        Finding::Alive
    }
}
