//! Which incarnation of a stream this is, and what the servers' time is.
//!
//! Invariant: ids of a stream that was made anew lie behind those of the one before, since they
//! begin with the time at which it was made; a stream is never taken for another one for longer
//! than until it is looked at the next time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use super::stream_info::Info;
use crate::{
    domain::{
        position::{EventId, Position},
        timestamp::Timestamp,
    },
    ports::clock::Clock,
};

/// A stream's incarnation, as far as it is known.
#[derive(Debug)]
pub(super) struct Incarnation {
    created_ms: AtomicU64,
    clock: Arc<ServersClock>,
}

impl Incarnation {
    pub(super) const fn new(clock: Arc<ServersClock>) -> Self {
        Self { created_ms: AtomicU64::new(0), clock }
    }

    /// Takes over what was just heard of the stream.
    pub(super) fn learn(&self, info: &Info) {
        if let Some(created) = Timestamp::parse(&info.created) {
            self.created_ms.store(created.as_ms(), Ordering::Relaxed);
        }
        if let Some(now) = info.ts.as_deref().and_then(Timestamp::parse) {
            self.clock.learn(now);
        }
    }

    /// When the stream was made, in milliseconds; 0 before that is known.
    pub(super) fn created_ms(&self) -> u64 {
        self.created_ms.load(Ordering::Relaxed)
    }

    /// The id of the message with a sequence.
    pub(super) fn id(&self, sequence: u64) -> EventId {
        EventId::timed(self.created_ms(), sequence)
    }

    /// The position right behind that message.
    pub(super) fn position(&self, sequence: u64) -> Position {
        self.id(sequence).into()
    }

    /// The sequence that a position stands behind: that of another incarnation before this is 0,
    /// and one after it none that there is.
    pub(super) fn sequence(&self, position: Position) -> u64 {
        match position.id() {
            Some(id) if id.major() == self.created_ms() => id.minor().unwrap_or(0),
            Some(id) if id.major() > self.created_ms() => u64::MAX,
            _ => 0,
        }
    }
}

/// For how long an answer with the time may be on its way.
const ON_ITS_WAY_MS: u64 = 100;

/// The time of the servers, as far as it is known: times of different processes can be compared by
/// it.
pub(super) struct ServersClock {
    clock: Arc<dyn Clock>,
    ahead_ms: AtomicI64,
}

impl std::fmt::Debug for ServersClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServersClock").field("ahead_ms", &self.ahead_ms).finish_non_exhaustive()
    }
}

impl ServersClock {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, ahead_ms: AtomicI64::new(0) }
    }

    /// Takes over the time of a server, unless it differs by no more than it may have been on its
    /// way.
    fn learn(&self, now: Timestamp) {
        let ahead = i128::from(now.as_ms()) - i128::from(self.clock.now().as_ms());
        let ahead = i64::try_from(ahead).unwrap_or(0);
        if ahead.abs_diff(self.ahead_ms.load(Ordering::Relaxed)) > ON_ITS_WAY_MS {
            self.ahead_ms.store(ahead, Ordering::Relaxed);
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_ms(
            self.clock.now().as_ms().saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed)),
        )
    }
}
